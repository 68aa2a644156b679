/** Starts the page. */

import { render } from "preact";
import { App } from "./app/App";
import { bringBack } from "./entries";
import { startLanguage } from "./i18n";
import { startOffline } from "./offline";
import { work } from "./queue";
import { askModels } from "./server";
import { config, readConfig } from "./settings";
import { message } from "./taking";

await Promise.all([startLanguage(), readConfig()]);
if (config.value.server) await askModels().catch((error: Error) => (message.value = error.message));
render(<App />, document.getElementById("app")!);
await bringBack();
void work();
startOffline();
