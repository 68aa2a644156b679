/** The first thing to see: where photos go, and what becomes of them. */

import { t } from "../i18n";
import { config, place } from "../settings";
import { takeSample } from "../taking";
import { Picker } from "./Picker";

export function Start() {
  return (
    <section id="start" aria-label={t("start")}>
      <p class="lead">{t("tagline")}</p>
      <Picker id="files" className="drop" capture={false}>
        <svg viewBox="0 0 64 48" width="76" height="57" aria-hidden="true">
          <path class="far" d="M2 44 22 14l12 16 8-10 20 24z" />
          <path class="near" d="M32 27l2 3 8-10 20 24H32z" />
          <circle class="near" cx="48" cy="10" r="5" />
        </svg>
        <strong class="with-mouse">{t("drop")}</strong>
        <strong class="with-touch">{t("dropTouch")}</strong>
        <span class="with-mouse">{t("orChoose")}</span>
      </Picker>
      <div class="buttons">
        <Picker id="camera" className="button with-touch" capture>{t("camera")}</Picker>
        {config.value.sample && <button id="sample" type="button" onClick={() => void takeSample()}>{t("sample")}</button>}
      </div>
      <ul class="promises quiet">
        {place.value === "browser" && <li><Lock />{t("private")}</li>}
        {config.value.server && place.value === "server" && <li>{t("privateServer")}</li>}
        <li><Frame />{t("keeps")}</li>
      </ul>
    </section>
  );
}

function Lock() {
  return (
    <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path d="M6 9V6.5a4 4 0 0 1 8 0V9M4.5 9h11v8h-11z" />
    </svg>
  );
}

function Frame() {
  return (
    <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path d="M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4" />
    </svg>
  );
}
