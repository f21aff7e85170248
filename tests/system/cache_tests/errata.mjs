// Where the suite's last release contradicts RFC 9111, which came after it, or itself. Its authors
// have since changed these tests in their repository, to the same effect.

// Section 5.1: of several ages the first counts, and what is no age is ignored; not "is stale".
const REUSED = [
  'age-parse-nonnumeric', 'age-parse-negative', 'age-parse-float', 'age-parse-prefix-twoline',
  'age-parse-dup-0', 'age-parse-dup-0-twoline', 'age-parse-dup-old'
]

// Nothing says what a parameter does to an age; nor is an ETag that a 304 changes to be kept, since
// such a 304 updates nothing (section 4.3.4).
const ONLY_CHECKED = [
  'age-parse-parameter', 'age-parse-numeric-parameter', '304-etag-update-response-ETag'
]

// The answer made by the cache itself, 504 (section 5.2.2.2), has no number of the origin's; the
// suite takes that for a stored response.
const REFUSED = [
  'stale-close-must-revalidate', 'stale-close-proxy-revalidate', 'stale-close-no-cache',
  'stale-close-s-maxage=2'
]

export function correct (test) {
  const last = test.requests.at(-1)
  if (REUSED.includes(test.id)) last.expected_type = 'cached'
  if (ONLY_CHECKED.includes(test.id)) test.kind = 'check'
  if (REFUSED.includes(test.id)) {
    delete last.expected_type
    last.expected_status = 504
    last.expected_response_headers_missing = ['server-request-count']
    last.check_body = false
  }
}

// Targeted fields have a standard now, RFC 9213, whose name for this one is another.
export function targeted (suite) {
  const text = JSON.stringify(suite)
    .replaceAll('Surrogate-Control', 'CDN-Cache-Control')
    .replaceAll(';CAPABILITY_TARGET', '') // parameters mean nothing there
  const renamed = JSON.parse(text)
  renamed.tests = renamed.tests.filter(test => !test.id.startsWith('surrogate-append'))
  for (const test of renamed.tests) {
    // Keys of Dictionaries are lower-case (RFC 9651 section 3.2).
    if (test.id === 'surrogate-max-age-case-insensitive') test.kind = 'check'
  }
  return renamed
}
