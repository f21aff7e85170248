// node deploy.mjs ONE OTHER CHROMIUM: a page of the first build in a browser that gets the page's
// files from the second, and the other way round. Prints what became of each, as JSON.
import { withBrowser } from "./browser.mjs";

const [one, other, chromium] = process.argv.slice(2);
const report = [];

await withBrowser(chromium, async (browser) => {
  for (const [source, files] of [[one, other], [other, one]]) {
    const context = await browser.newContext();
    const errors = [];
    await context.route(`${files}/en/venues`, async (route) => {
      await route.fulfill({ response: await route.fetch({ url: `${source}/en/venues` }) });
    });
    const page = await context.newPage();
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) errors.push(message.text());
    });
    await page.goto(`${files}/en/venues`, { waitUntil: "load" });
    report.push({ errors, ...await page.evaluate(() => ({
      build: document.querySelector("meta[name=build]").content,
      style: getComputedStyle(document.documentElement).getPropertyValue("--build").trim(),
      isLive: Boolean(document.querySelector("#nav-q-list")),
    })) });
    await context.close();
  }
});
console.log(JSON.stringify(report));
