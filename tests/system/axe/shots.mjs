// node shots.mjs BASE_URL OUTPUT_FOLDER CHROMIUM [LANGUAGE...]: six pages as PNG.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { PAGES, SCHEMES, WIDTHS, withBrowser } from "./browser.mjs";

const [base, folder, chromium, ...languages] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
await withBrowser(chromium, async (browser) => {
  for (const language of languages.length ? languages : ["en"]) {
    for (const colorScheme of SCHEMES) {
      for (const width of WIDTHS) {
        const height = width < 500 ? 844 : 900;
        const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" });
        const page = await context.newPage();
        for (const [name, path] of PAGES) {
          await page.goto(`${base}/${language}${path}`, { waitUntil: "load" });
          await page.evaluate(() => { for (const image of document.images) image.loading = "eager"; });
          await page.evaluate(() => Promise.all([...document.images].map((image) => image.decode().catch(() => {}))));
          const file = join(folder, `${name}-${language}-${width}-${colorScheme}.png`);
          await page.screenshot({ path: file, fullPage: true });
          console.log(file);
        }
        await context.close();
      }
    }
  }
});
