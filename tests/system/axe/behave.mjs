// node behave.mjs BASE_URL CHROMIUM: what the site's script adds, done as a visitor would.
// Prints the names of the steps that held; the first that fails ends it with status 1.
import assert from "node:assert/strict";
import { withBrowser } from "./browser.mjs";

const [base, chromium] = process.argv.slice(2);
const held = [];
const step = async (name, work) => { await work(); held.push(name); };

await withBrowser(chromium, async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const count = () => page.locator("[data-count]").innerText();

  await step("a filter renews the list in place", async () => {
    await page.goto(`${base}/en/venues`);
    await page.evaluate(() => { window.stayed = true; });
    const before = await count();
    await page.locator("#filters [name=style][value=garden]").check();
    await page.waitForFunction((text) => document.querySelector("[data-count]").textContent !== text, before);
    assert.match(page.url(), /\/en\/venues\?style=garden$/);
    assert.equal(await page.evaluate(() => window.stayed), true);
    assert.equal(await page.evaluate(() => document.activeElement.value), "garden");
    assert.match(await page.locator(".languages a[hreflang=ta]").getAttribute("href"), /style=garden/);
  });
  await step("typing searches and keeps what is typed", async () => {
    await page.locator("#filters [name=q]").pressSequentially("hotel", { delay: 20 });
    await page.waitForURL(/q=hotel/);
    assert.equal(await page.locator("#filters [name=q]").inputValue(), "hotel");
  });
  await step("back brings the filters back", async () => {
    await page.goBack();
    await page.waitForFunction(() => document.querySelector("#filters [name=q]").value === "");
    assert.equal(await page.locator("#filters [name=style]:checked").inputValue(), "garden");
  });
  await step("venues are remembered for comparison", async () => {
    await page.goto(`${base}/en/venues`);
    const boxes = page.locator("[data-compare]");
    for (let index = 0; index < 4; index += 1) await boxes.nth(index).check();
    assert.equal(await page.locator("[data-compare-count]").innerText(), "4");
    await boxes.nth(4).click();
    assert.equal(await boxes.nth(4).isChecked(), false);
    await page.goto(`${base}/ta/venues?page=2`);
    await page.locator("[data-compare-go]").click();
    await page.waitForURL(/\/ta\/compare\?venue=\d+&venue=\d+&venue=\d+&venue=\d+$/);
    assert.equal(await page.locator("table.compare thead th").count(), 4);
    await page.locator("[data-compare-drop]").first().click();
    await page.waitForFunction(() => document.querySelectorAll("table.compare thead th").length === 3);
    assert.equal(await page.locator("[data-compare-count]").innerText(), "3");
  });
  await step("a venue's page adds and removes itself", async () => {
    const link = page.locator("table.compare thead a").first();
    await link.click();
    const button = page.locator("[data-compare-toggle]");
    assert.equal(await button.getAttribute("aria-pressed"), "true");
    await button.focus();
    await page.keyboard.press("Space");
    assert.equal(await button.getAttribute("aria-pressed"), "false");
  });
  await step("the calendar answers at a touch", async () => {
    await page.goto(`${base}/en/venues/1`);
    const day = page.locator("td.free").first();
    await day.click();
    assert.equal(await page.locator("#wedding-date").inputValue(), await day.getAttribute("data-day"));
    assert.equal(await page.locator(".date-answer").innerText(), "Yes, this day is free.");
    assert.equal(new URL(page.url()).search, "");
  });
  await step("listings are suggested", async () => {
    await page.locator("#nav-q").pressSequentially("gard", { delay: 20 });
    await page.waitForFunction(() => document.querySelectorAll("#nav-q-list option").length > 0);
  });
  await step("what is remembered cannot inject", async () => {
    await page.evaluate(() => localStorage.setItem("weddinglk.compare", JSON.stringify([
      { id: "1", name: "<img src=x onerror=window.broken=1>" }, { id: "2&x=1", name: "no" }, "junk",
    ])));
    await page.goto(`${base}/en/venues`);
    assert.equal(await page.locator("[data-compare-count]").innerText(), "1");
    assert.equal(await page.evaluate(() => window.broken), undefined);
  });
  await context.close();

  await step("everything works without a script", async () => {
    const plain = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    const bare = await plain.newPage();
    bare.setDefaultTimeout(10_000);
    await bare.goto(`${base}/en/venues`);
    await bare.locator("#filters [name=style][value=beach]").check();
    await bare.locator("#filters button[type=submit]").click();
    await bare.waitForURL(/style=beach/);
    for (const index of [0, 1]) await bare.locator("input[name=venue]").nth(index).check();
    await bare.locator(".compare-submit button").click();
    await bare.waitForURL(/\/en\/compare\?venue=\d+&venue=\d+$/);
    assert.equal(await bare.locator("table.compare thead th").count(), 2);
    await plain.close();
  });
});
console.log(JSON.stringify(held));
