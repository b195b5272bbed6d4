import assert from 'node:assert/strict';
import test from 'node:test';
import { openMicrophone } from '../dist/index.js';

/** Returns a browser whose attempts to open a microphone have these outcomes, one after the other. */
function browser(...outcomes) {
  const asked = [];
  const getUserMedia = async ({ audio }) => {
    asked.push(audio.deviceId?.exact ?? 'any');
    const outcome = outcomes.shift();
    if (typeof outcome === 'string') return outcome;
    throw outcome;
  };
  Object.defineProperty(globalThis, 'navigator', { value: { mediaDevices: { getUserMedia } }, configurable: true });
  return asked;
}

test('a device that cannot be opened is replaced by the system\'s, whatever a browser throws', async () => {
  // Not a DOMException: if the device is gone, Firefox throws an object of another class.
  for (const name of ['OverconstrainedError', 'NotFoundError', 'NotReadableError', '']) {
    const asked = browser({ name }, 'stream');
    assert.equal(await openMicrophone({ deviceId: 'gone' }), 'stream');
    assert.deepEqual(asked, ['gone', 'any']);
  }
});

test('who says no is not asked again, and the error names the remedy', async () => {
  const asked = browser(new DOMException('', 'NotAllowedError'));
  await assert.rejects(openMicrophone({ deviceId: 'there' }), { code: 'microphone_denied' });
  assert.deepEqual(asked, ['there']);
  browser({ name: 'NotFoundError' });
  await assert.rejects(openMicrophone(), { code: 'microphone_missing' });
  browser(null);
  await assert.rejects(openMicrophone(), { code: 'microphone_failed' });
});
