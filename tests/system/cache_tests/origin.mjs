// The suite's origin server, on a free port of 127.0.0.1; prints the address.
import http from 'node:http'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const server = http.createServer((request, response) => {
  const [kind, ...rest] = new URL(request.url, 'http://origin').pathname.slice(1).split('/')
  const handle = handlers[kind]
  if (handle) handle(rest, request, response)
  else response.writeHead(404).end()
})
server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`))
