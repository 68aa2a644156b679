/** The list: a thumbnail, a name and a state each; stopped, tried again or removed one by one. */

import { useEffect, useState } from "preact/hooks";
import { entries, removeAll, shownId, type Entry } from "../entries";
import { number, t, type Key } from "../i18n";
import { cancel, discard, retry } from "../queue";
import { Picker } from "./Picker";

export function Files() {
  const done = entries.value.filter((each) => each.state === "done").length;
  return (
    <div class="files">
      <ul id="list" aria-label={t("files")}>
        {entries.value.map((entry) => <File key={entry.id} entry={entry} />)}
        <li class="more"><Picker id="files" className="add" capture={false}><b aria-hidden="true">+</b>{t("addMore")}</Picker></li>
      </ul>
      {entries.value.length > 1 && (
        <div class="all">
          <p id="count" class="quiet" role="status">{t("count", { done: number(done), all: number(entries.value.length) })}</p>
          <button id="remove-all" type="button" class="plain" onClick={() => {
            for (const entry of entries.value) discard(entry.id);
            void removeAll();
          }}>{t("removeAll")}</button>
        </div>
      )}
    </div>
  );
}

function File({ entry }: { entry: Entry }) {
  const preview = useAddress(entry.preview);
  const working = entry.state === "working";
  const words = working && entry.step ? t(entry.step) : entry.error === "cancelled" ? t("cancelled") : t(entry.state as Key);
  return (
    <li class={entry.state}>
      <button type="button" class="file" title={entry.name} aria-current={shownId.value === entry.id} onClick={() => (shownId.value = entry.id)}>
        {preview ? <img src={preview} alt="" /> : <span class="blank" />}
        <span class="name"><bdi>{entry.name}</bdi></span>
        <span class="state">{words}</span>
        {working && <progress aria-label={entry.name} {...(entry.progress === null ? {} : { value: entry.progress })} />}
      </button>
      {(working || entry.state === "waiting") && (
        <button type="button" class="small cancel" aria-label={t("cancelNamed", { name: entry.name })} title={t("cancel")} onClick={() => cancel(entry.id)}>
          <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4h8v8H4z" /></svg>
        </button>
      )}
      {entry.state === "failed" && (
        <button type="button" class="small retry" aria-label={t("retryNamed", { name: entry.name })} title={t("retry")} onClick={() => retry(entry.id)}>
          <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M13 8a5 5 0 1 1-1.5-3.5L13 6M13 2v4H9" /></svg>
        </button>
      )}
      <button type="button" class="small remove" aria-label={t("removeNamed", { name: entry.name })} title={t("remove")} onClick={() => discard(entry.id)}>
        <svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 4 8 8m0-8-8 8" /></svg>
      </button>
    </li>
  );
}

/** An address for a blob as long as it is shown. */
function useAddress(blob: Blob | null): string | null {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    if (!blob) return setAddress(null);
    const made = URL.createObjectURL(blob);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return address;
}
