/** Files in: dropped, pasted, picked, taken by a camera, shared, or the sample. */

import { signal } from "@preact/signals";
import { add, shownId } from "./entries";
import { t } from "./i18n";
import { AUTO, DEFAULT_MODEL, modelInfo } from "./models";
import { work } from "./queue";
import { offered } from "./server";
import { place, remembered } from "./settings";

export const message = signal("");
export const chosenModels = signal<string[]>([remembered("model") ?? DEFAULT_MODEL]);
export const dropping = signal(false);

export function take(files: Iterable<File>): void {
  const given = [...files];
  if (!given.length) return;
  message.value = "";
  const [first] = add(given, modelsFor);
  if (given.length === 1 && first) shownId.value = first.id;
  void work();
}

/** What was chosen last, if it is there; the server itself chooses for videos. */
function modelsFor(video: boolean): string[] {
  if (place.value === "browser") return [modelInfo(chosenModels.value[0]!) ? chosenModels.value[0]! : DEFAULT_MODEL];
  if (video) return [AUTO];
  const names = offered.value.map((each) => each.name);
  const wanted = chosenModels.value.find((each) => names.includes(each)) ?? names[0];
  return [wanted ?? DEFAULT_MODEL];
}

export async function takeSample(): Promise<void> {
  const response = await fetch("samples/valley.jpg");
  take([new File([await response.blob()], "valley.jpg", { type: "image/jpeg" })]);
}

/** Anywhere on the page. */
export function listen(): void {
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      dropping.value = true;
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) dropping.value = false;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping.value = false;
    const files = event.dataTransfer?.files;
    if (files?.length) take(files);
    else message.value = t("noFile");
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    if (files?.length) take(files);
  });
}
