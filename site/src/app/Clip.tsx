/** A video that the server restored. */

import { useEffect, useState } from "preact/hooks";
import type { Entry } from "../entries";
import { t } from "../i18n";
import * as server from "../server";
import { message } from "../taking";

export function Clip({ entry }: { entry: Entry }) {
  const [address, setAddress] = useState<string | null>(null);
  const model = entry.models.find((each) => entry.results[each]);
  const remote = model && entry.results[model]?.remote;
  useEffect(() => {
    if (!model || !remote) return setAddress(null);
    let made = "";
    server.result(entry, model).then((blob) => setAddress((made = URL.createObjectURL(blob))), (error: Error) => (message.value = error.message));
    return () => URL.revokeObjectURL(made);
  }, [remote]);
  return (
    <div id="stage" class={address ? "" : "waits"}>
      {address ? <video id="clip" controls playsInline src={address} /> : <p class="quiet">{t(entry.step ?? "waiting")}</p>}
    </div>
  );
}
