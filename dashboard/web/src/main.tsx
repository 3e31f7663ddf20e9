import { effect } from "@preact/signals";
import { render } from "preact";
import { onKey } from "./keyboard";
import { startLive } from "./live";
import { App } from "./shell/app";
import { login } from "./shell/login";
import { needsToken } from "./api";
import { parseHash, route } from "./router";
import { theme } from "./theme";
import "./styles.css";

/** `#token=…` is handed over once and taken out of the address before anything is shown. */
async function takeToken(): Promise<void> {
  const token = /^#token=([^&]+)/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, "", location.pathname + location.search);
  route.value = parseHash("");
  try {
    await login(decodeURIComponent(token));
  } catch {
    needsToken.value = true; // The form says what is wrong with the next token that is tried.
  }
}

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
});
addEventListener("keydown", onKey);
await takeToken();
startLive();
const page = document.getElementById("page");
if (page) render(<App />, page);
