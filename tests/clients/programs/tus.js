// Uploads one file with tus-js-client and prints what happens, a JSON object per line. Options: one JSON argument.
//
// {endpoint, file, name, chunkSize?, parallelUploads?, stream?, protocol?, store?, retryDelays?, dieAt?}
//
// `stream`: the length is not known at the start. `store`: a file that keeps upload URLs, and is asked for one first.
// `dieAt`: after so many bytes this process kills itself as `kill -9` does.

import { createReadStream, existsSync, writeFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import * as tus from 'tus-js-client'

const options = JSON.parse(process.argv[2])
const say = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`)

function urlStorage(path) {
  if (!existsSync(path)) writeFileSync(path, '{}')
  return new tus.FileUrlStorage(path)
}

const file = createReadStream(options.file)
const upload = new tus.Upload(options.stream ? file.pipe(new PassThrough()) : file, {
  endpoint: options.endpoint,
  chunkSize: options.chunkSize ?? Number.POSITIVE_INFINITY,
  parallelUploads: options.parallelUploads ?? 1,
  uploadLengthDeferred: options.stream ?? false,
  protocol: options.protocol ?? 'tus-v1',
  retryDelays: options.retryDelays ?? null,
  metadata: { filename: options.name, filetype: 'application/octet-stream' },
  ...(options.store ? { urlStorage: urlStorage(options.store) } : { storeFingerprintForResuming: false }),
  onBeforeRequest: (request) => say('request', { method: request.getMethod(), offset: request.getHeader('Upload-Offset') }),
  onProgress: (sent) => {
    if (options.dieAt && sent >= options.dieAt) process.kill(process.pid, 'SIGKILL')
    say('progress', { sent })
  },
  onShouldRetry: (error) => {
    say('retry', { status: error.originalResponse?.getStatus() ?? null })
    return tus.defaultOptions.onShouldRetry?.(error, 0, {}) ?? true
  },
  onSuccess: () => say('success', { url: upload.url }),
  onError: (error) => {
    say('error', { message: String(error) })
    process.exitCode = 1
  },
})

const previous = options.store ? await upload.findPreviousUploads() : []
if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
say('start', { resumed: previous.length > 0 })
upload.start()
