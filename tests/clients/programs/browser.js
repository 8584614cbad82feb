// A person with Uppy's Dashboard in a headless Chromium: adds files, uploads, perhaps pauses or reloads on the way.
// Prints what happened as one JSON object. Options: one JSON argument.
//
// {browser, profile, page, service, files, course: "straight" | "pause" | "reload", screenshot}

import { chromium } from 'playwright-core'

const task = JSON.parse(process.argv[2])
const PATIENCE = 60_000 // milliseconds; other tests may keep the machine busy
const SLOW = 4 * 1024 * 1024 // bytes per second, so that there is a middle of the way
const PART_WAY = 30 // per cent
const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync',
]

const requests = []
const parts = { now: 0, most: 0 } // that are on their way at the same time
const context = await chromium.launchPersistentContext(task.profile, {
  executablePath: task.browser,
  headless: true,
  chromiumSandbox: false,
  args: FLAGS,
})
context.setDefaultTimeout(PATIENCE)
context.on('request', (request) => {
  if (!request.url().startsWith(new URL(task.page).origin)) {
    requests.push({ method: request.method(), url: request.url(), offset: request.headers()['upload-offset'] ?? null })
  }
})
context.on('request', (request) => {
  if (request.method() === 'PUT') parts.most = Math.max(parts.most, ++parts.now)
})
for (const end of ['requestfinished', 'requestfailed']) {
  context.on(end, (request) => {
    if (request.method() === 'PUT') parts.now--
  })
}

const page = context.pages()[0] ?? (await context.newPage())
const network = await context.newCDPSession(page)
const throttle = (uploadThroughput) =>
  network.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput,
  })
const progress = () => page.evaluate(() => window.uppy.getState().totalProgress)
const partWay = () => page.waitForFunction((least) => window.uppy.getState().totalProgress >= least, PART_WAY)
const uploadButton = page.locator('.uppy-StatusBar-actionBtn--upload')
const pauseButton = page.locator('[data-cy=togglePauseResume]')

const courses = {
  async straight() {},

  async pause() {
    await partWay()
    await pauseButton.click()
    await page.waitForTimeout(1000) // Uppy shows what was under way a moment later
    const paused = await progress()
    await page.waitForTimeout(700) // nothing goes on by itself: there is no event to wait for
    const later = await progress()
    await throttle(-1)
    await pauseButton.click()
    return { paused, later }
  },

  async reload() {
    await partWay()
    await page.reload()
    await page.waitForFunction(() => window.happened.some(({ event }) => event === 'restored'))
    const before = requests.length
    await throttle(-1)
    await uploadButton.click()
    return { before }
  },
}

await network.send('Network.enable')
await page.goto(task.page)
await page.locator('.uppy-Dashboard-input').first().setInputFiles(task.files)
if (task.course !== 'straight') await throttle(SLOW)
await uploadButton.click()
const seen = (await courses[task.course]()) ?? {}
await page.waitForFunction(
  (count) => window.happened.filter(({ event }) => event === 'success' || event === 'error').length >= count,
  task.files.length,
)
const happened = await page.evaluate(() => window.happened)
if (happened.every(({ event }) => event !== 'error')) await page.locator('.uppy-StatusBar.is-complete').waitFor()
const shown = await page.locator('.uppy-StatusBar-progress').first().getAttribute('aria-valuenow')
await page.screenshot({ path: task.screenshot })
await context.close()
process.stdout.write(JSON.stringify({ happened, requests, together: parts.most, shown: Number(shown), ...seen }))
