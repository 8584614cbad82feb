// The same page with Uppy 5, whose S3 plugin sends the parts of one file in parallel. ?endpoint=URL

import AwsS3 from 'uppy5-aws-s3'
import Uppy from 'uppy5-core'
import Dashboard from 'uppy5-dashboard'
import GoldenRetriever from 'uppy5-golden-retriever'

import 'uppy5-core/css/style.min.css'
import 'uppy5-dashboard/css/style.min.css'

import { watch } from './watch.js'

const endpoint = new URLSearchParams(location.search).get('endpoint')
watch(
  new Uppy({ debug: true })
    .use(Dashboard, { target: '#dashboard', inline: true, proudlyDisplayPoweredByUppy: false })
    .use(GoldenRetriever, { indexedDB: { maxFileSize: 2 ** 30, maxTotalSize: 2 ** 31 } })
    .use(AwsS3, { endpoint, shouldUseMultipart: true }),
)
