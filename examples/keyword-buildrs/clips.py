"""Lets espeak-ng speak the ten digits, and writes what the model hears of them: models/clips.npy, and models/calib.npy, with
which the model is calibrated, of other voices.

    apt-get install espeak-ng
    pip install numpy
    python clips.py

The model was trained on recordings of people (Free Spoken Digit Dataset), one second each at 8 kHz. Features are those of its
training: 49 frames of 256 samples, every 160; a Hann window, an FFT of 512, 32 mel filters (HTK) from 60 to 4000 Hz, the natural
logarithm of power + 1e-6, less the mean of the training data and divided by their deviation.
"""

import io
import subprocess
import wave

import numpy as np

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# Voices of espeak-ng, each as it speaks unasked.
SHOWN = "en-us"
CALIBRATED = ["en-gb", "en-us+m3", "en-us+f2", "en-gb-scotland"]

RATE, LENGTH, FRAME, HOP, FFT, BANDS = 8000, 8000, 256, 160, 512, 32
MEAN, DEVIATION = -9.44906448, 5.40707415
# The peaks of half of the recordings are below this.
PEAK = 0.27


def speech(word, voice):
    """The samples of a word in -1..1 at 8 kHz, one second with the word in its middle, as the recordings have it."""
    said = subprocess.run(["espeak-ng", "-v", voice, "--stdout", word], check=True, capture_output=True).stdout
    # espeak-ng writes to a pipe before it knows the length: the header's says more than there is.
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    samples = samples[loud[0]:loud[-1] + 1]
    # To 8 kHz, without what these do not hold.
    length = len(samples) * RATE // rate
    samples = np.fft.irfft(np.fft.rfft(samples)[:length // 2 + 1], length)
    samples *= PEAK / np.abs(samples).max()
    before = max(0, LENGTH - len(samples)) // 2
    return np.pad(samples[:LENGTH], (before, max(0, LENGTH - len(samples) - before)))


def mel(hertz):
    return 2595 * np.log10(1 + hertz / 700)


def features(samples):
    """Log-mel features, [frames, bands], as the model's input has them."""
    edges = 700 * (10 ** (np.linspace(mel(60), mel(4000), BANDS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rise, fall))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), FFT)) ** 2
    return (np.log(power @ filters + 1e-6) - MEAN) / DEVIATION


def clips(voice):
    return np.stack([features(speech(word, voice))[None] for word in WORDS])


if __name__ == "__main__":
    # Half precision resolves far more than the eight bits that the model keeps of its input.
    np.save("models/calib.npy", np.concatenate([clips(voice) for voice in CALIBRATED]).astype(np.float16))
    np.save("models/clips.npy", clips(SHOWN).astype(np.float32))
