/** Name, language, and, where a server is, where the work is done. */

import { entries } from "../entries";
import { LANGUAGES, language, setLanguage, t, type Language } from "../i18n";
import { config, place } from "../settings";

export function Header() {
  const choosePlace = config.value.server && config.value.browser;
  return (
    <header>
      <h1><img src="./icon.svg" alt="" width="32" height="32" />unhaze</h1>
      {entries.value.length > 0 && <p class="quiet tagline">{t("tagline")}</p>}
      <div class="settings">
        {choosePlace && (
          <fieldset id="place" class="segments">
            <legend class="hidden">{t("where")}</legend>
            {(["browser", "server"] as const).map((each) => (
              <label>
                <input type="radio" name="place" value={each} checked={place.value === each} onChange={() => (place.value = each)} />
                <span>{t(each)}</span>
              </label>
            ))}
          </fieldset>
        )}
        <label class="field">
          <span class="hidden">{t("language")}</span>
          <select id="language" value={language.value} onChange={(event) => void setLanguage(event.currentTarget.value as Language)}>
            {Object.entries(LANGUAGES).map(([code, name]) => <option value={code} lang={code}>{name}</option>)}
          </select>
        </label>
      </div>
    </header>
  );
}
