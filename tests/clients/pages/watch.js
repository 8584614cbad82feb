// What a test wants to know of a page: `uppy`, and what `happened`, in order.

export function watch(uppy) {
  window.happened = []
  const note = (event, more) => window.happened.push({ event, ...more })
  uppy.on('upload-success', (file, response) => note('success', { name: file.name, url: response.uploadURL }))
  uppy.on('upload-error', (file, error) => note('error', { name: file.name, message: String(error) }))
  uppy.on('restored', () => note('restored', {}))
  window.uppy = uppy
}
