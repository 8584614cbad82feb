"""The routes of Uppy's companion that its S3 plugin calls (`@uppy/aws-s3` with `companionEndpoint`), below `/s3/`.

`multipart` takes a file in numbered parts, `single` in one form; both answer with where to send the bytes. The words
are those of the plugin: `uploadId` is the upload, `PartNumber` a chunk from 1, `ETag` the CRC-64/NVME of a chunk that
came to us. No storage call and no state here. The plugin looks at the status and at these members only, so refusals
are problem documents as everywhere.
"""
