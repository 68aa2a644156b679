/** Starts the page. */

import { render } from "preact";
import { App } from "./app/App";
import { bringBack } from "./entries";
import { startLanguage } from "./i18n";
import { startOffline } from "./offline";
import { work } from "./queue";
import { readConfig } from "./settings";

await Promise.all([startLanguage(), readConfig()]);
render(<App />, document.getElementById("app")!);
await bringBack();
void work();
startOffline();
