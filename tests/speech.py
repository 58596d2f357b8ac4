"""The recipe of ``data/speech.npz``: a synthesiser's speech, with the phoneme that it was speaking at each moment.

``python -m tests.speech`` writes the file anew. It needs the library of espeak-ng (Debian: ``libespeak-ng1``), whose events
tell when each phoneme begins; nothing else in the course does.
"""

import ctypes
import ctypes.util

import numpy as np

from course_utils.paths import DATA_DIR

FILE = DATA_DIR / "speech.npz"
WORDS = (
    "see",
    "me",
    "no",
    "moon",
    "law",
    "shoe",
    "far",
    "zoo",
    "nosy",
    "fool",
    "show",
    "arm",
    "sauna",
    "loss",
    "mean",
    "foam",
)
NUM_UTTERANCES, WORDS_EACH = 64, 3
RATE, FRAME, HOP, NUM_BANDS = 8000, 256, 80, 20
NUM_HEARD = 2

SYNCHRONOUS, PHONEME_EVENTS, PHONEME, END = 2, 1, 7, 0


class Event(ctypes.Structure):
    """An event of espeak-ng (``speak_lib.h``); a phoneme's name is at most eight bytes in place of a pointer."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


def synthesise(texts: list[str]) -> tuple[int, list[tuple[np.ndarray, list[tuple[int, str]]]]]:
    """Return the sampling rate and, for each text, its samples and the phonemes with the millisecond each begins at."""
    library = ctypes.CDLL(ctypes.util.find_library("espeak-ng"))
    heard: list[np.ndarray] = []
    events: list[tuple[int, str]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
    def receive(samples, number, event):
        if samples and number:
            heard.append(np.ctypeslib.as_array(samples, (number,)).copy())
        at = 0
        while event[at].type != END:
            if event[at].type == PHONEME:
                events.append((event[at].milliseconds, event[at].name.decode()))
            at += 1
        return 0

    rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
    library.espeak_SetVoiceByName(b"en-us")
    library.espeak_SetSynthCallback(receive)
    spoken = []
    for text in texts:
        heard.clear()
        events.clear()
        content = text.encode() + b"\0"
        library.espeak_Synth(content, len(content), 0, 1, 0, 1, None, None)
        library.espeak_Synchronize()
        spoken.append((np.concatenate(heard), list(events)))
    return rate, spoken


def mel_bands() -> np.ndarray:
    """Return triangular filters, evenly spaced on the mel scale, of shape [bands, frequencies]."""

    def mel(hertz):
        return 2595 * np.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(mel(60), mel(RATE / 2), NUM_BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((hertz - left) / (middle - left), (right - hertz) / (right - middle)), 0, None)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return the logarithm of the power in each band, one row for each frame of ten milliseconds."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    return np.log(power @ mel_bands().T + 1e-4)


def main() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, WORDS_EACH, replace=False)) for _ in range(NUM_UTTERANCES)]
    rate, spoken = synthesise(texts)
    names, features, phonemes, sounds = [], [], [], []
    for samples, events in spoken:
        seconds = np.arange(0, len(samples) / rate, 1 / RATE)
        # A moving average over a little more than the new sampling interval keeps what the lower rate cannot hold out.
        smooth = np.convolve(samples / 32768, np.hanning(9) / np.hanning(9).sum(), "same")
        sound = np.interp(seconds, np.arange(len(samples)) / rate, smooth)
        rows = log_mel(sound)
        starts = [at for at, name in events if name] + [10**9]
        said = [name for _, name in events if name]
        middle = 1000 * (np.arange(len(rows)) * HOP + FRAME / 2) / RATE
        places = np.searchsorted(starts, middle, side="right") - 1
        names += [name for name in said if name not in names]
        ids = np.array([names.index(said[at]) if at >= 0 else -1 for at in places], np.int8)
        # Which phoneme, and, since one may follow itself, which of the utterance's.
        features.append(rows.astype(np.float16))
        phonemes.append(np.stack([ids, places.astype(np.int8)], 1))
        sounds.append(np.round(sound * 32767).astype(np.int16))
    print(rate, len(names), names, [len(each) for each in features][:8])
    lengths = np.array([len(each) for each in features])
    np.savez_compressed(
        FILE,
        texts=np.array(texts),
        names=np.array(names),
        lengths=lengths,
        log_mel=np.concatenate(features),
        phonemes=np.concatenate(phonemes),
        sound_lengths=np.array([len(each) for each in sounds[:NUM_HEARD]]),
        sounds=np.concatenate(sounds[:NUM_HEARD]),
    )


if __name__ == "__main__":
    main()
