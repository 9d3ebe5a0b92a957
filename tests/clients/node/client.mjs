// Uses @clickhouse/client with and without compression. It prints nothing but what went wrong.
import { createClient } from '@clickhouse/client'
import assert from 'node:assert/strict'

const { URL_, ADMIN, ADMIN_PASSWORD, READER, READER_PASSWORD } = process.env

async function attempt(compression) {
  const options = { url: URL_, compression: { request: compression, response: compression } }
  const admin = createClient({ ...options, username: ADMIN, password: ADMIN_PASSWORD })
  assert.equal((await admin.ping()).success, true)
  await admin.command({ query: 'CREATE OR REPLACE TABLE js (a Int64, s String) ENGINE = Memory' })
  const values = Array.from({ length: 1000 }, (_, a) => ({ a, s: 'ä' }))
  await admin.insert({ table: 'js', values, format: 'JSONEachRow' })

  const reader = createClient({ ...options, username: READER, password: READER_PASSWORD })
  const query = 'SELECT sum(a) AS total, {word: String} AS word FROM js'
  const answer = await reader.query({ query, query_params: { word: "it's" }, format: 'JSONEachRow' })
  assert.deepEqual(await answer.json(), [{ total: 499500, word: "it's" }])

  let count = 0
  const stream = await reader.query({ query: 'SELECT number FROM numbers(300000)', format: 'JSONCompactEachRow' })
  for await (const rows of stream.stream()) count += rows.length
  assert.equal(count, 300000)

  const late = "SELECT throwIf(number = 90000, 'too far') AS a FROM numbers(100000) SETTINGS max_block_size = 1000"
  await assert.rejects(async () => {
    const answer = await reader.query({ query: late, format: 'JSONEachRow' })
    for await (const _ of answer.stream());
  }, /too far/)
  await assert.rejects(reader.query({ query: "SELECT file('/etc/hostname')", format: 'JSON' }), { code: '497' })

  const abort = new AbortController()
  const endless = 'SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))'
  const asked = reader.query({ query: endless, abort_signal: abort.signal })
  setTimeout(() => abort.abort(), 300)
  await assert.rejects(asked)
  await admin.close()
  await reader.close()
}

for (const compression of [false, true]) {
  await attempt(compression)
}
