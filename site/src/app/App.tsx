/** The whole page: a start to drop photos on, and, with photos, the list, the stage and the controls. */

import { useEffect } from "preact/hooks";
import { entries, shown } from "../entries";
import { t } from "../i18n";
import { config } from "../settings";
import { dropping, listen, message } from "../taking";
import { Controls } from "./Controls";
import { Files } from "./Files";
import { Header } from "./Header";
import { Stage } from "./Stage";
import { Start } from "./Start";

export function App() {
  useEffect(listen, []);
  const some = entries.value.length > 0;
  return (
    <div class={`page${some ? " with-files" : ""}${dropping.value ? " dropping" : ""}`}>
      <Header />
      <main>
        {!some && <Start />}
        <p id="message" role="status" aria-live="polite">{message.value}</p>
        {some && <Workbench />}
      </main>
      <footer class="quiet">
        {!some && !config.value.server && <p>{t("offline")}</p>}
        {config.value.server && <a href="docs">{t("api")}</a>}
      </footer>
    </div>
  );
}

function Workbench() {
  const entry = shown.value;
  return (
    <div class="bench">
      <Files />
      {entry && <section id="viewer" aria-label={t("viewer")}>
        <Stage entry={entry} />
      </section>}
      {entry && <Controls entry={entry} />}
    </div>
  );
}
