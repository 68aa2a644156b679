/** Model, sliders and zoom of what is shown, and the way out: download, share, all as ZIP. */

import { entries, type Entry } from "../entries";
import { number, t, type Key } from "../i18n";
import { AUTO, DEFAULT_MODEL, MODELS, MOST_COMPARED } from "../models";
import { choose, retry } from "../queue";
import { canShare, saveAll, saveOne, saving, share } from "../saving";
import { offered } from "../server";
import { place, remember } from "../settings";
import { chosenModels } from "../taking";
import { Sliders } from "./Sliders";
import { fit, fullSize, isFitted, isFull } from "./view";

export function Controls({ entry }: { entry: Entry }) {
  const done = entry.models.some((model) => entry.results[model]);
  return (
    <section id="controls" aria-label={t("model")}>
      <Problem entry={entry} />
      <Models entry={entry} />
      <Sliders entry={entry} />
      <div class="segments" id="zoom" role="group" aria-label={t("zoom")} hidden={entry.video}>
        <button id="fit" type="button" aria-pressed={isFitted.value} onClick={fit}>{t("fit")}</button>
        <button id="full" type="button" aria-pressed={isFull.value} onClick={fullSize}>{t("full")}</button>
      </div>
      <div class="buttons">
        <button id="download" type="button" class="main" disabled={!done || saving.value !== null} onClick={() => void saveOne(entry)}>
          {t(saving.value ? "saving" : "download")}
        </button>
        {entries.value.filter((each) => each.state === "done").length > 1 && (
          <button id="all" type="button" disabled={saving.value !== null} onClick={() => void saveAll()}>{t("downloadAll")}</button>
        )}
        {canShare() && <button id="share" type="button" disabled={!done} onClick={() => void share(entry)}>{t("share")}</button>}
      </div>
      <Facts entry={entry} />
    </section>
  );
}

function Models({ entry }: { entry: Entry }) {
  const here = place.value === "browser" && !entry.video ? MODELS : offered.value;
  const names = [...new Set([...(entry.video ? [AUTO] : []), ...here.map((each) => each.name), ...entry.models])];
  const pick = (position: number, name: string) => {
    const models = entry.models.slice();
    if (name) models[position] = name;
    else models.splice(position, 1);
    const wanted = [...new Set(models)];
    chosenModels.value = [wanted[0] ?? DEFAULT_MODEL];
    remember("model", chosenModels.value[0]!);
    choose(entry.id, wanted);
  };
  const first = entry.models[0] ?? DEFAULT_MODEL;
  const isOurs = first === AUTO || MODELS.some((each) => each.name === first);
  const purpose = isOurs ? t(`purpose_${first}` as Key) : offered.value.find((each) => each.name === first)?.purpose;
  const slots = entry.video ? 1 : Math.min(MOST_COMPARED, entry.models.length + 1, names.length);
  return (
    <div class="models">
      {Array.from({ length: slots }, (_, position) => (
        <label class="field">
          <span>{t((["model", "compare", "compareMore"] as const)[position]!)}</span>
          <select id={position ? `compare-${position}` : "model"} value={entry.models[position] ?? ""} onChange={(event) => pick(position, event.currentTarget.value)}>
            {position > 0 && <option value="">{t("none")}</option>}
            {names.filter((name) => name === entry.models[position] || !entry.models.includes(name) || position === 0)
              .map((name) => <option value={name}>{name}</option>)}
          </select>
        </label>
      ))}
      <p id="purpose" class="quiet">{purpose}</p>
    </div>
  );
}

/** Why it failed, and what helps. */
function Problem({ entry }: { entry: Entry }) {
  if (entry.state !== "failed" || entry.error === "cancelled") return null;
  return (
    <div id="problem">
      <p class="problem">{t("problem", { name: entry.name, reason: reason(entry) })}</p>
      {entry.error === "needsServer" && <button id="send" type="button" onClick={() => {
        place.value = "server";
        retry(entry.id);
      }}>{t("server")}</button>}
      {entry.error === "needsReload" && <button id="reload" type="button" onClick={() => {
        retry(entry.id);
        location.reload();
      }}>{t("reload")}</button>}
    </div>
  );
}

function Facts({ entry }: { entry: Entry }) {
  const done = entry.models.filter((model) => entry.results[model]);
  const seconds = done.reduce((total, model) => total + entry.results[model]!.seconds, 0);
  const values = {
    name: entry.name, width: entry.width, height: entry.height, models: done.join(", "),
    seconds: number(seconds, { maximumFractionDigits: 1 }), frames: entry.results[done[0] ?? ""]?.frames ?? 0,
  };
  return (
    <div id="facts" class="quiet">
      {done.length > 0 && <p>{t(entry.video ? "factsVideo" : "facts", values)}</p>}
      {entry.lost.map((each) => <p>{t(`lost_${each}` as Key)}</p>)}
      {entry.notes.map((each) => <p class="note" lang="en" dir="ltr">{each}</p>)}
    </div>
  );
}

/** Messages of ours are in the person's language, a server's are as it says them. */
function reason(entry: Entry): string {
  const known: Key[] = ["unreadable", "videoNeedsServer", "needsServer", "needsCommand", "needsReload", "tooLarge"];
  const found = known.find((key) => key === entry.error);
  return found ? t(found) : entry.error;
}
