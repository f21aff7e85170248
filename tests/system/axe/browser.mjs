// A headless Chromium for the accessibility run and the screenshots.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

export const PAGES = [
  ["home", "/"],
  ["venues", "/venues?district=kandy"],
  ["venue", "/venues/1"],
  ["vendors", "/vendors/photography"],
  ["search", "/search?q=beach"],
  ["compare", "/compare?venue=1&venue=2&venue=3"],
];
export const WIDTHS = [390, 1440];
export const SCHEMES = ["light", "dark"];

// Runs `work(browser)` and leaves nothing behind.
export async function withBrowser(executablePath, work) {
  const home = mkdtempSync(join(tmpdir(), "weddinglk-browser-"));
  const browser = await chromium.launch({ executablePath, args: QUIET, env: { ...process.env, HOME: home } });
  try {
    return await work(browser);
  } finally {
    await browser.close();
    rmSync(home, { recursive: true, force: true });
  }
}
