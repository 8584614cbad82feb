// Bundles a page with everything it imports: `node bundle.js pages/uppy.js FOLDER`.

import { build } from 'esbuild'

const [entry, folder] = process.argv.slice(2)
await build({ entryPoints: [entry], bundle: true, format: 'esm', outdir: folder, logLevel: 'warning' })
