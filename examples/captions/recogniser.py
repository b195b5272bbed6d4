#!/usr/bin/env python3
"""Captions by PocketSphinx: recogniser.py ROOM [--api URL] [--key KEY] [--language TAG]

Connects to a room on air, recognises English speech on this machine, and returns captions. docs/captions.md describes
the protocol. PocketSphinx is small and makes many mistakes: replace the class Recognition with a better recogniser.

Needs Python 3.9 or newer: pip install pocketsphinx==5.1.1 websockets==17.4 (the model for English is in the package).
"""

import argparse
import asyncio
import json
import os

import pocketsphinx
import websockets

SAMPLE_BYTES = 2
# Shortest time between two preliminary results, in milliseconds.
PARTIAL_EVERY = 1000


class Positions:
    """Converts times of the recogniser, which count its audio from 0 s, to positions on the stream's clock."""

    def __init__(self):
        self.known = []
        self.seconds = 0.0

    def add(self, position, pcm, rate):
        """Records the position of an audio message. The recogniser gets the audio of all messages without gaps."""
        self.known.append((self.seconds, position))
        self.seconds += len(pcm) / SAMPLE_BYTES / rate
        del self.known[:-6000]

    def of(self, seconds):
        """Returns the position of a time of the recogniser, in milliseconds since the Unix epoch."""
        began, position = max((known for known in self.known if known[0] <= seconds), default=self.known[0])
        return round(position + (seconds - began) * 1000)


class Recognition:
    """Recognition of speech: yields (from, to, text, final) with times in seconds of the audio."""

    def __init__(self, rate):
        self.endpointer = pocketsphinx.Endpointer(sample_rate=rate)
        self.decoder = pocketsphinx.Decoder(samprate=rate)
        self.held = b""
        self.heard = 0.0
        self.shown_at = 0.0

    def process(self, pcm):
        self.held += pcm
        size = self.endpointer.frame_bytes
        while len(self.held) >= size:
            frame, self.held = self.held[:size], self.held[size:]
            yield from self.frame(frame)

    def frame(self, frame):
        was_speech = self.endpointer.in_speech
        speech = self.endpointer.process(frame)
        self.heard += self.endpointer.frame_length
        if speech is None:
            return
        if not was_speech:
            self.decoder.start_utt()
        self.decoder.process_raw(speech)
        if not self.endpointer.in_speech:
            yield from self.finish(self.endpointer.speech_end)
        elif self.heard - self.shown_at >= PARTIAL_EVERY / 1000:
            self.shown_at = self.heard
            yield from self.result(self.heard, False)

    def finish(self, end):
        self.decoder.end_utt()
        yield from self.result(end, True)

    def end(self):
        """Ends the utterance in progress, at the end of the audio."""
        if self.endpointer.in_speech:
            yield from self.finish(self.heard)

    def result(self, end, final):
        found = self.decoder.hyp()
        if found and found.hypstr.strip() and end > self.endpointer.speech_start:
            yield self.endpointer.speech_start, end, found.hypstr.strip(), final


async def caption(url, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with websockets.connect(url, additional_headers=headers, max_size=1 << 20) as server:
        positions, recognition = Positions(), None

        async def send(results):
            for begin, end, text, final in results:
                # A result has at most 60 s and 500 characters.
                begin, end = positions.of(max(begin, end - 59)), positions.of(end)
                result = {"from": begin, "to": end, "text": text[-500:], "final": final}
                print(json.dumps(result), flush=True)
                await server.send(json.dumps(result))

        async for message in server:
            if isinstance(message, bytes):
                positions.add(int.from_bytes(message[:8], "big"), message[8:], recognition.endpointer.sample_rate)
                # Recognition takes time. It runs in another thread, so that pings are answered meanwhile.
                await send(await asyncio.to_thread(lambda pcm=message[8:]: list(recognition.process(pcm))))
                continue
            told = json.loads(message)
            if told["type"] == "start":
                recognition = Recognition(told["sampleRate"])
            elif told["type"] == "end":
                await send(list(recognition.end()) if recognition else [])
                return
            else:
                print(json.dumps(told), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room")
    parser.add_argument("--api", default="http://127.0.0.1:3000", help="base URL of the room API")
    parser.add_argument("--key", default=os.environ.get("STENTOR_API_KEY", ""), help="API key with the scope rooms")
    parser.add_argument("--language", default="en")
    asked = parser.parse_args()
    base = asked.api.replace("http", "ws", 1)
    asyncio.run(caption(f"{base}/api/rooms/{asked.room}/captions?language={asked.language}", asked.key))


if __name__ == "__main__":
    main()
