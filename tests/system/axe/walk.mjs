// node walk.mjs SITE CHROMIUM EMAIL PASSWORD PATHS: somebody signed in opens every page in three
// languages. PATHS is a JSON list. Prints one JSON document: statuses, what a policy or Trusted
// Types stopped, and what the console said.
import { withBrowser } from "./browser.mjs";

const [site, chromium, email, password, paths] = process.argv.slice(2);
const report = { pages: [], violations: [], errors: [], inert: [], signedOut: [] };

await withBrowser(chromium, async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  await context.addInitScript(() => {
    window.seen = [];
    document.addEventListener("securitypolicyviolation", (event) => window.seen.push(`${event.effectiveDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => report.errors.push(`${page.url()}: ${error}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !/status of 4(04|22)/.test(message.text())) report.errors.push(`${page.url()}: ${message.text()}`);
  });
  const accountIsLinked = () => /\/account$/.test(document.querySelector("[data-account]")?.getAttribute("href") ?? "");
  async function look(status, { isSignedIn = true } = {}) {
    await page.waitForLoadState("networkidle");
    if (isSignedIn) await page.waitForFunction(accountIsLinked, null, { timeout: 10_000 }).catch(() => report.signedOut.push(page.url()));
    const state = await page.evaluate(() => ({
      seen: window.seen,
      isLive: document.documentElement.classList.contains("js") && document.styleSheets.length === 1,
    }));
    report.pages.push({ url: page.url().replace(site, ""), status });
    report.violations.push(...state.seen.map((text) => `${page.url()}: ${text}`));
    if (!state.isLive) report.inert.push(page.url());
  }
  async function send(path, fields, button) {
    await page.goto(`${site}${path}`);
    for (const [selector, value] of Object.entries(fields)) await page.locator(selector).fill(value);
    const answer = page.waitForResponse((each) => each.request().method() === "POST" && each.url().startsWith(site));
    await page.locator(button).click();
    return (await answer).status();
  }
  const button = ".account-form button";
  for (const language of ["en", "si", "ta"]) {
    await context.clearCookies();
    await look(await send(`/${language}/sign-in`, { "#email": email, "#password": "not the password" }, button), { isSignedIn: false });
    await send(`/${language}/sign-in`, { "#email": email, "#password": password }, button);
    await page.waitForURL(/\/account$/);
    for (const path of JSON.parse(paths)) {
      const response = await page.goto(`${site}/${language}${path}`, { waitUntil: "load" });
      await look(response.status());
    }
  }
});
console.log(JSON.stringify(report));
