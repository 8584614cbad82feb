// Bundles the pages with everything they import: `node bundle.js PAGES FOLDER`.

import { build } from 'esbuild'

const [pages, folder] = process.argv.slice(2)
const options = { bundle: true, format: 'esm', outdir: folder, logLevel: 'warning' }
await build({ ...options, entryPoints: [`${pages}/uppy.js`] })
// what the packages of Uppy 5 import of each other is Uppy 5 too
await build({ ...options, entryPoints: [`${pages}/uppy5.js`], alias: { '@uppy/core': 'uppy5-core' } })
