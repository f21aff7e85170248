// node run.mjs BASE_URL CHROMIUM: axe-core over six pages, two widths, two colour schemes, under the
// site's own Content-Security-Policy. Prints one JSON document; exit status 0 whatever was found.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { PAGES, SCHEMES, WIDTHS, withBrowser } from "./browser.mjs";

const [base, chromium] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const LANGUAGES = ["en", "si", "ta"];

const report = { runs: 0, violations: [], refusals: [], foreign: [], overflow: [] };

async function examine(browser, width, colorScheme, language, pages = PAGES) {
  const context = await browser.newContext({ viewport: { width, height: 844 }, colorScheme, reducedMotion: "reduce" });
  await context.route("**/*", async (route) => {
    const url = route.request().url();
    if (!url.startsWith(base)) { report.foreign.push(url); return route.abort(); }
    return route.continue();
  });
  const page = await context.newPage();
  page.on("console", (message) => { if (message.type() === "error") report.refusals.push(message.text()); });
  page.on("pageerror", (error) => report.refusals.push(String(error)));
  for (const [name, path] of pages) {
    const where = `${name} ${language} ${width} ${colorScheme}`;
    await page.goto(`${base}/${language}${path}`, { waitUntil: "load" });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) report.overflow.push(`${where}: ${wide} px too wide`);
    await page.evaluate(axe);
    const found = await page.evaluate((tags) => axe.run(document, { runOnly: tags, resultTypes: ["violations"] }), TAGS);
    report.runs += 1;
    for (const { id, help, nodes } of found.violations) {
      report.violations.push({ where, id, help, targets: nodes.slice(0, 4).map((node) => `${node.target} ${node.failureSummary}`) });
    }
  }
  await context.close();
}

await withBrowser(chromium, async (browser) => {
  // English in every combination; the other languages on the three wordiest pages, where it is tight.
  const jobs = WIDTHS.flatMap((width) => SCHEMES.map((scheme) => [width, scheme, "en"]));
  for (const language of LANGUAGES.slice(1)) jobs.push([WIDTHS[0], "light", language, PAGES.slice(0, 3)]);
  const workers = [jobs.filter((_, index) => index % 2 === 0), jobs.filter((_, index) => index % 2 === 1)];
  await Promise.all(workers.map(async (list) => { for (const job of list) await examine(browser, ...job); }));
});
console.log(JSON.stringify(report));
