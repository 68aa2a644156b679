/** Strength, and what a person may want otherwise than the model: live, or for a video when let go. */

import { signal } from "@preact/signals";
import { controlsOf, entries, update, type Entry } from "../entries";
import { number, t } from "../i18n";
import { reclear } from "../queue";
import { CONTROLS, NO_WISHES, isAlike } from "../restore/controlling";
import { remember, remembered } from "../settings";

/** Whether the controls beside strength are unfolded. */
export const unfolded = signal(remembered("controls") === "open");

export function Sliders({ entry }: { entry: Entry }) {
  const { strength, controls } = entry;
  const inEffect = controlsOf(entry);
  const others = entries.value.filter((each) => !each.video && !(each.strength === strength && isAlike(each.controls, controls)));
  const change = (wishes: Partial<Entry>, isDone: boolean) => {
    update(entry.id, wishes);
    if (isDone && entry.video) reclear(entry.id);
  };
  const fold = (isOpen: boolean) => {
    unfolded.value = isOpen;
    remember("controls", isOpen ? "open" : "closed");
  };
  return <>
    <Slider id="strength" name={t("strength")} value={strength} change={(value, isDone) => change({ strength: value }, isDone)} />
    <details id="more-controls" open={unfolded.value} onToggle={(event) => fold(event.currentTarget.open)}>
      <summary>{t("moreControls")}</summary>
      {CONTROLS.map((name) => (
        <Slider
          key={name} id={name.replace("_", "-")} name={t(name)} value={inEffect[name]}
          change={(value, isDone) => change({ controls: { ...controls, [name]: value } }, isDone)}
        />
      ))}
      {!isAlike(controls, NO_WISHES) && (
        <button id="reset" type="button" class="plain" onClick={() => change({ controls: NO_WISHES }, true)}>{t("reset")}</button>
      )}
    </details>
    {controls.white_balance === null && inEffect.white_balance > 0 && <p id="cast-removed" class="quiet">{t("castRemoved")}</p>}
    {!entry.video && others.length > 0 && (
      <button id="same-for-all" type="button" class="plain" onClick={() => others.forEach((each) => update(each.id, { strength, controls }))}>
        {t("sameForAll")}
      </button>
    )}
  </>;
}

/** `change`: called with a share from 0 to 1, and whether the slider rests. */
function Slider(props: { id: string; name: string; value: number; change: (value: number, isDone: boolean) => void }) {
  const { id, name, value, change } = props;
  const given = (event: { currentTarget: HTMLInputElement }) => Number(event.currentTarget.value) / 100;
  return (
    <label class="slider" for={id}>
      <span>{name} <output id={`${id}-shown`} for={id}>{number(value, { style: "percent" })}</output></span>
      <input
        id={id} type="range" min="0" max="100" value={Math.round(100 * value)}
        onInput={(event) => change(given(event), false)} onChange={(event) => change(given(event), true)}
      />
    </label>
  );
}
