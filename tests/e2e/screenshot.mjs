// Takes the README's picture, www/screenshot.png, from the built page with the sample pictures: `make screenshots`.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, dist, repository, visit } from "./harness.mjs";
import { serve } from "../../scripts/serve.mjs";

const server = await serve({ folder: dist });
const browser = await launch();
try {
  await visit(browser, server.url, { context: { viewport: { width: 1280, height: 800 }, colorScheme: "light" } }, async (person, page) => {
    await person.clickSample();
    await person.settled(1);
    await page.evaluate(() => { document.activeElement?.blur(); scrollTo(0, 0); });
    await person.until("the thumbnails are drawn", () => [...document.querySelectorAll('[data-testid="result"] img')].every((img) => img.complete && img.naturalWidth > 0));
    const picture = await page.screenshot({ animations: "disabled" });
    writeFileSync(join(repository, "www/screenshot.png"), picture);
    console.log(`www/screenshot.png: ${Math.round(picture.length / 1000)} kB`);
    if (picture.length > 300_000) throw new Error("more than 300 kB: choose a smaller window");
  });
} finally {
  await browser.close();
  await server.close();
}
