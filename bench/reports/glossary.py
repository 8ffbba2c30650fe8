"""What do the terms of the report mean? Its glossary, its methods, and links from terms to the glossary."""

import re
from typing import NamedTuple

from markupsafe import Markup, escape


class Word(NamedTuple):
    """An entry of the glossary; `pattern` matches the term in texts."""

    name: str
    meaning: str
    pattern: str

    @property
    def anchor(self) -> str:
        """The anchor of the entry in the page."""
        return "word-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


GLOSSARY = tuple(
    Word(*entry)
    for entry in (
        (
            "loss",
            "What a training makes small. BCE (binary cross-entropy), L1 (absolute error), and L2 (squared error) are"
            " compared here; Huber and Charbonnier are blends of L1 and L2.",
            r"BCE|Charbonnier|charbonnier|Huber|huber",
        ),
        (
            "Barron's loss",
            "Under barron-0 a large error counts for its logarithm, so outliers hardly pull; barron-adaptive"
            " learns beside the network how much large errors shall count.",
            r"[Bb]arron(?:-[a-z0-9]+)?",
        ),
        (
            "PSNR, dB",
            "How close a picture is to the true one, in decibels (dB); higher is better. 3 dB less is twice the"
            ' squared error, 10 dB less ten times. "On Y" means on its brightness.',
            r"PSNR(?:-Y| on Y)?",
        ),
        (
            "super-resolution",
            "A network enlarges a small picture and adds the detail; the test compares it with the"
            " original. ×2 means twice as wide and high.",
            r"[Ss]uper-resolution",
        ),
        (
            "depth, disparity, bad pixels",
            "A network compares the two views of a stereo pair and gives depth as disparity:"
            " by how many pixels each point lies elsewhere in the right one. A pixel is bad where that is off by more"
            " than 2.",
            r"[Dd]epth|[Dd]isparity|bad pixels",
        ),
        (
            "frame interpolation",
            "A network makes the frame between two frames of a moving camera.",
            r"[Ff]rame interpolation|[Ii]nterpolation of frames",
        ),
        (
            "restoration",
            "A network repairs a spoiled photograph, and may learn it from targets that are spoiled as well"
            " (Noise2Noise).",
            r"[Rr]estoration|Noise2Noise",
        ),
        (
            "baseline",
            "What no training reaches: block matching of the two views, the average of the two frames, or the"
            " spoiled photograph as it is.",
            r"[Bb]aseline",
        ),
        (
            "outlier, outlier rate",
            "A training value that was spoiled on purpose; the rate is the share of pixels (or"
            " images, labels, samples) that were. What a test compares with is always clean.",
            r"[Oo]utlier(?: rate|s)?",
        ),
        (
            "salt, salt-pepper, impulse",
            "Pixels of the training targets become white; black or white; a random grey.",
            r"salt-pepper|[Ss]alt|impulse",
        ),
        (
            "missing, wrong-match",
            "Outliers of disparity as real maps have them: patches without a value (0), and patches"
            " where the two photographs were matched wrongly (any value).",
            r"\bmissing(?= \d)|wrong-match",
        ),
        (
            "overlay, mismatch",
            "Rectangles and words cover the target; squares of it belong to another image.",
            r"overlay|mismatch",
        ),
        (
            "jitter",
            "Noise that averages to zero: the control, which must not mislead a loss that follows the average.",
            r"jitter",
        ),
        (
            "noise, inverted, foreign, flip",
            "Of a GAN's real images some become random pixels, their negatives, or crops of"
            ' other pictures; or the labels "real" and "generated" are swapped.',
            r"flips?(?= \d)|label flips",
        ),
        ("one-sided", "All outliers lie on the same side of the true value, as white pixels do.", r"[Oo]ne-sided"),
        (
            "seed",
            "One repetition with its own random start. Within a seed every loss gets the same start, data order, and"
            " outliers, so losses are compared pair by pair.",
            r"seeds?",
        ),
        (
            "95 % interval, n",
            "Where the mean of endlessly many repetitions should lie (right in 95 of 100 such intervals),"
            " and how many repetitions stand behind it.",
            r"95 % (?:t )?intervals?",
        ),
        (
            "margin",
            "The smallest effect worth having, fixed before the data were read: 0.1 dB of PSNR, a factor of 1.28 in"
            " Fréchet distance or location error (a log ratio of 0.25), 0.2 of a rank correlation.",
            r"[Mm]argins?",
        ),
        (
            "simultaneous interval",
            "Wider than one at 95 %, so that all claims together yield a false verdict in at most 5"
            " of 100 such studies.",
            r"simultaneous intervals?",
        ),
        (
            "SUPPORTED, REFUTED",
            "The whole simultaneous interval lies beyond the margin: in the direction the article claims"
            " (✓), or against it (✗).",
            r"SUPPORTED|REFUTED",
        ),
        (
            "EQUIVALENT, INCONCLUSIVE",
            "The whole interval lies within the margin, so the choice does not matter here (=); or"
            " it does neither, so these seeds decide nothing (?).",
            r"EQUIVALENT|INCONCLUSIVE",
        ),
        (
            "CONFOUNDED, NOT TESTABLE",
            "Two numbers move together over a training, but these seeds show nothing of it at equal training step (~);"
            " or the data could not have told the claim from its rival, as where all lie on one side of a target (⊘).",
            r"CONFOUNDED|NOT TESTABLE",
        ),
        (
            "still learning",
            "The validation score still rose by more than the margin, 0.1 dB, over the last fifth of the training.",
            r"still learning",
        ),
        ("no difference worth having", "Its whole interval lies within the margin.", r"no difference worth having"),
        ("not settled", "The interval of the difference reaches beyond the margin, but not wholly.", r"not settled"),
        (
            "paired difference",
            "The difference between two losses within each seed. What the seed does to both cancels.",
            r"[Pp]aired(?: differences?)?",
        ),
        (
            "mean-seeker, median-seeker",
            "A loss that is smallest at the average of what it sees (BCE, L2), or at the middle"
            " value (L1, nearly so Charbonnier). Outliers drag an average along; a middle value stays while they are"
            " few.",
            r"mean-seekers?|median-seekers?",
        ),
        (
            "head: sigmoid, raw",
            "How the network's output becomes a pixel or a probability: squeezed into 0 to 1 (sigmoid)"
            " or taken as it is (raw).",
            r"sigmoid|raw head|\bheads?",
        ),
        ("bicubic", "Enlarging by a fixed formula, without any training: the yardstick.", r"[Bb]icubic"),
        (
            "3 dB rate",
            "The outlier rate at which a loss has lost 3 dB of what it reaches without outliers; higher is more"
            " robust.",
            r"3 dB rate",
        ),
        (
            "C",
            "The mean squared error without outliers, where predictions start. The smaller it is, the fewer outliers it"
            " takes to spoil it.",
            r"\bC(?=,? \(|, the)",
        ),
        (
            "SSIM, MAE, BCE excess",
            "Structural similarity (higher is better); mean absolute error; binary cross-entropy"
            " above the least possible (lower is better).",
            r"SSIM|MAE|BCE excess",
        ),
        (
            "GAN, generator, discriminator",
            "A generator (G) makes images, a discriminator (D) learns to tell them from real"
            " ones, and each learns from the other.",
            r"GANs?|[Dd]iscriminators?|[Gg]enerator",
        ),
        (
            "hinge, Wasserstein, relativistic",
            "Objectives of a GAN whose discriminator gives scores, not probabilities: real"
            " images shall score above 1 and generated ones below −1 (hinge), the mean scores lie far apart"
            " (Wasserstein), or"
            " each real image score above a generated one (relativistic). L2 on such scores is the least-squares GAN.",
            r"hinge|[Ww]asserstein|relativistic",
        ),
        ("d_loss, g_loss", "What discriminator and generator of a GAN make small.", r"d_loss|g_loss"),
        (
            "equilibrium",
            "Where d_loss ends when the generator is perfect and the discriminator the best possible.",
            r"[Ee]quilibri(?:um|a)",
        ),
        (
            "dead discriminator",
            "One that answers the same to real and generated images and no longer learns, although they differ.",
            r"[Dd]ead discriminators?|D dead",
        ),
        (
            "Fréchet distance, log ratio",
            "How far generated images are from real ones, in the features of a fixed"
            " classifier; lower is better (it is not FID, which uses another). A log ratio of 0.25 is a factor of"
            " 1.28.",
            r"Fréchet(?: distance)?|log ratio",
        ),
        (
            "KID, density, coverage, classes",
            "Further distances and shares on the same features: KID lower is better;"
            " density and coverage near 1 are best; classes: how many of ten the generator makes.",
            r"\bKID\b|density|coverage",
        ),
        (
            "location GAN",
            "A GAN that estimates the mean of 100 numbers from spoiled samples. The truth is known, so its"
            " error is measured exactly. The oracle is told which samples are spoiled.",
            r"[Ll]ocation GAN|oracle",
        ),
        (
            "rank correlation",
            "From −1 to 1: whether two numbers rise and fall together over a training. What both do as time passes is"
            " taken out.",
            r"rank correlation",
        ),
        (
            "cosine, constant; wobble",
            "The learning rate falls to zero along a cosine, or stays. Wobble: how much the"
            " validation score still jumps in the last fifth of a training.",
            r"cosine|[Ww]obble",
        ),
        ("diverged", "The loss became infinite or not a number, so the training was ended there.", r"diverged"),
    )
)

METHODS = (
    "Losses, elementwise, for prediction p and target t: BCE −t ln p − (1 − t) ln(1 − p), L1 |p − t|, L2 (p − t)²."
    " Huber is 5 (p − t)² up to an error of 0.1 and |p − t| − 0.05 beyond, Charbonnier √((p − t)² + 0.001²),"
    " barron-0 0.1 ln(1 + 50 (p − t)²). BCE and L2 are smallest at the mean of t, L1 at its median.",
    "Photographs: two of the fourteen are for tuning and for curves. The other twelve take turns: each seed tests four"
    " of them and trains on the other eight, under every loss alike; three seeds test all twelve. A level, like"
    " a mean PSNR, is the mean over the three sets of four; its interval is from the scatter of seeds within them.",
    "Super-resolution: the small picture is made by antialiased bicubic interpolation and 8-bit rounding. A share e of"
    " the training targets is spoiled, once per image and seed; test pictures never are. PSNR = −10 log₁₀ MSE on Y of"
    " BT.601, borders of the magnification's width cropped, per picture, then averaged.",
    "Depth: in go the left and the right view of a scene, out comes the disparity over the largest, 20 px. Scenes are"
    " rendered from the photographs, six before each, and take turns with them; four more are tiles of a measured one."
    " Pixels whose disparity nobody knows, or that only one view shows, are neither trained on nor scored. PSNR of the"
    " disparity per scene, then averaged.",
    "Frame interpolation: in go the frames before and after, out comes the one between, for which training targets are"
    " spoiled and test frames never are. The data set motion is a camera that moves over the photographs, four"
    " sequences of each, which take turns with them. PSNR on Y per frame, then averaged.",
    "Restoration: outliers of inputs and of training targets are drawn independently of each other. Test inputs are"
    " spoiled as well, the same in every run, and what comes out is compared with the clean photograph: PSNR on Y per"
    " picture, then averaged.",
    "Prediction for mean-seekers at outlier rate e: MSE = C + e² (m − C), with C the error of that picture under clean"
    " training, m = mean((x − μ)²), and μ the outliers' mean; worked out per picture and seed, then averaged in dB."
    " They lose 3 dB at e = √(0.995 C / (m − C)). The formula takes the clean network as right on average on the"
    " pictures tested; on pictures unlike those trained on it may miss either way.",
    "Prediction for every other loss: a reference training on clean targets with the loss averaged over the outliers,"
    " whose law is known. What remains between it and the measurement is their noise, that is, training. Without such a"
    " reference L1 has approximations. Under salt-pepper the median stays, and with it the clean result. Under other"
    " outliers at e < 1/2 a pixel that the input determines keeps its median, so the clean result is predicted; what is"
    " missed is how much the input leaves open. Above 1/2 more than half of what it sees under salt is white, and so is"
    " its answer; impulse and overlay clip the pixel to 1 − 1 / (2e) and 1 / (2e), mismatch to these quantiles of the"
    " training pixels. The error of that is added to C.",
    "GAN: labels real = 1, generated = 0; g_loss = loss(D(G(z)), 1) steps G, then d_loss = (loss(D(x), 1) +"
    " loss(D(G(z)), 0)) / 2 steps D. At equilibrium d_loss is ln 2 = 0.693 for BCE, 1/4 for L2, 1/2 for L1; for L1 any"
    " constant discriminator c gives (1 − c + c) / 2 = 1/2 as well. In the location GAN the generator cannot model the"
    " outliers, so it ends lower: with a fifth far away BCE 0.618, L2 0.222, L1 0.4. The raw head has the same values.",
    "Objectives of scores s: under hinge D pays max(0, 1 − s) for a real and max(0, 1 + s) for a generated image, under"
    " Wasserstein −s and s, with its weights clipped; G pays −s. Under relativistic D pays ln(1 + exp(s(G(z)) − s(x)))"
    " for each pair, and the gradient penalties R1 and R2, which d_loss leaves out; G pays the same with the roles"
    " exchanged. At equilibrium d_loss is 1, 0, and ln 2.",
    "A discriminator counts as dead when its mean answers to real and generated images differ by less than 0.01 and it"
    " is saturated (mean p (1 − p) below 0.01 on both), or a freshly trained probe still tells them apart. One that"
    " scores is dead where the mean scores differ by at most a tenth of their standard deviation and the probe does.",
    "Fréchet distance: |μ₁ − μ₂|² + trace(S₁ + S₂ − 2 (S₁ S₂)^½) between the features (means μ, covariances S) of"
    " held-out clean real images and of as many generated ones, on a classifier trained once and frozen.",
    "Intervals: mean ± t s / √n at 95 % over seeds, with s the standard deviation of the n values and t Student's."
    " Differences of losses are paired by seed and picture, ratios of times by round and on a logarithmic scale. A"
    " level speaks for these test pictures.",
    "Recommendation: of each situation one condition is judged. The loss with the best mean is compared with each other"
    " by paired differences; all pairs of the condition together hold at 95 % (Bonferroni), so that picking the best"
    " afterwards is allowed for. Within the margin: no difference worth having. Wholly beyond it: worse. Else: not"
    " settled. Further conditions are counted by what their intervals show; without an interval, for nothing.",
    "Verdicts: an interval [L, U] per claim with a share 0.05/K of the error, K the number of claims that data decide,"
    " and d the margin: L > d supported, U < −d refuted, inside [−d, d] equivalent, else inconclusive. Intervals are"
    " Student's, widened for effects that are not normal; docs/error-rates.md shows for which ones all false verdicts"
    " together stay under 5 %. Where seeds are added, each look (6, 9, 12, 18, 24, 36, 48 seeds) spends an equal part"
    " of the share, and the first that decides counts. “For images like these”: pictures and seeds are samples; “for"
    " these N images”: seeds alone. Seeds that collapse are counted apart. What a proof decides stays outside K;"
    " effects that are the numbers of an earlier claim are counted there. Still learning is not defined for GANs.",
    "Where a run has tuning cells, the best mean over seeds chooses learning rates, on validation data and seeds of"
    " their own; nothing reported is read from them. What is reported at another rate says so. Times of a training step"
    " are measured alone on the device, losses in turns within each round.",
)

_ANY = re.compile("|".join(f"(?P<w{number}>{word.pattern})" for number, word in enumerate(GLOSSARY)))


def explained(text: object) -> Markup:
    """Text in which the first occurrence of each glossary term links to its entry and shows the meaning on hover.

    >>> str(explained("1 < 2 seeds"))[:38]
    '1 &lt; 2 <a class="word" href="#word-s'
    """
    parts: list[Markup] = []
    end, seen, text = 0, set[int](), str(text)
    for match in _ANY.finditer(text):
        number = _entry_index(match)
        letters = (text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1])
        if number in seen or any(letter.isalnum() or letter in "_=" for letter in letters if letter):
            continue
        seen.add(number)
        word = GLOSSARY[number]
        parts += [
            escape(text[end : match.start()]),
            Markup('<a class="word" href="#{}" title="{}">{}</a>').format(word.anchor, word.meaning, match.group()),
        ]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def meaning(text: str) -> str:
    """The meaning of the first glossary term in a text, or an empty string; a heading shows it on hover."""
    match = _ANY.search(text)
    return GLOSSARY[_entry_index(match)].meaning if match else ""


def _entry_index(match: re.Match[str]) -> int:
    """The index of the matched glossary entry."""
    return int(str(match.lastgroup)[1:])
