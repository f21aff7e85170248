// Runs the public test suite for HTTP caches and prints what became of each test, as JSON.
//
//   node run.mjs http://127.0.0.1:8080 [ID]      all tests, or one with its messages
import fetch from 'node-fetch'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import { determineTestResult } from 'http-cache-tests/lib/display.mjs'
import suites from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'
import { correct, targeted } from './errata.mjs'

const AT_ONCE = 100 // most of them only wait; so do the suite's own
const PASSED = ['✅', 'Y']

const [base, only] = process.argv.slice(2)
suites.push(targeted(surrogate))
for (const suite of suites) suite.tests.forEach(correct)

const wanted = suites.map(suite => ({
  ...suite,
  tests: suite.tests.filter(test => !only || test.id === only)
}))
if (only) wanted.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
await runTests(wanted, fetch, false, base, AT_ONCE)

const results = getResults()
const rows = []
for (const { id, kind = 'required' } of wanted.flatMap(suite => suite.tests)) {
  const result = results[id]
  if (result === undefined) continue // for browsers only
  const verdict = determineTestResult(suites, id, results, !only)[2]
  const reason = result === true ? 'what it depends on failed' : result.join(': ')
  rows.push({ id, kind, passed: PASSED.includes(verdict), reason })
}
console.log(JSON.stringify(rows, null, only ? 2 : 0))
