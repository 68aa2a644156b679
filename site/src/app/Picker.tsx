/** A button that opens the file dialogue, or the camera of a phone. */

import type { ComponentChildren } from "preact";
import { config } from "../settings";
import { take } from "../taking";

const PHOTOS = "image/*,.tif,.tiff,.avif,.heic";

export function Picker(props: { id: string; className: string; capture: boolean; children: ComponentChildren }) {
  const accept = config.value.server ? `${PHOTOS},video/*,.mkv` : PHOTOS;
  return (
    <label class={props.className} for={props.id}>
      {props.children}
      <input
        id={props.id}
        type="file"
        class="hidden"
        multiple={!props.capture}
        accept={props.capture ? "image/*" : accept}
        capture={props.capture ? "environment" : undefined}
        onChange={(event) => {
          take(event.currentTarget.files ?? []);
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}
