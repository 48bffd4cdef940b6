// A person at the admin, in Chromium: logs in, makes, changes and removes objects, logs out.
import { chromium } from "playwright-core";

const [base, browser] = process.argv.slice(2);
const started = await chromium.launch({ executablePath: browser, args: ["--no-sandbox"] });
const page = await started.newPage();
const go = (path) => page.goto(base + path, { waitUntil: "load" });
const submit = async (selector) => {
  await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(selector)]);
};

await go("/admin/");
await page.fill("#id_username", "admin");
await page.fill("#id_password", "pa55word");
await submit("input[type=submit]");
for (const name of ["Books", "Music"]) {
  await go("/admin/shop/category/add/");
  await page.fill("#id_name", name);
  await submit("input[name=_save]");
}
for (const [name, price] of [["First", "1.50"], ["Second", "2.50"], ["Third", "3.50"]]) {
  await go("/admin/shop/product/add/");
  await page.fill("#id_name", name);
  await page.fill("#id_price", price);
  await page.selectOption("#id_category", { label: "Music" });
  await submit("input[name=_save]");
  await submit(".messagelist a");
  await page.fill("#id_price", "9.99");
  await submit("input[name=_continue]");
}
await submit("a.deletelink");
await submit("input[type=submit]");
await go("/admin/shop/product/");
await submit("#logout-form button");
await started.close();
