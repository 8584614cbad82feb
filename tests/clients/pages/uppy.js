// A page with Uppy's Dashboard as its manual shows it. The query says how it uploads:
// ?plugin=tus&endpoint=URL[&chunk=BYTES], or ?plugin=s3&endpoint=URL[&multipart=1].

import AwsS3 from '@uppy/aws-s3'
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import GoldenRetriever from '@uppy/golden-retriever'
import Tus from '@uppy/tus'

import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

import { watch } from './watch.js'

const query = new URLSearchParams(location.search)
const endpoint = query.get('endpoint')
const uppy = new Uppy({ debug: true })
  .use(Dashboard, { target: '#dashboard', inline: true, proudlyDisplayPoweredByUppy: false })
  .use(GoldenRetriever, { indexedDB: { maxFileSize: 2 ** 30, maxTotalSize: 2 ** 31 } })

if (query.get('plugin') === 'tus') {
  uppy.use(Tus, { endpoint, chunkSize: Number(query.get('chunk') ?? Infinity) })
} else {
  uppy.use(AwsS3, {
    companionEndpoint: endpoint,
    shouldUseMultipart: query.get('multipart') === '1',
  })
}

watch(uppy)
