"""Which runtimes gain from a pruned file, which do not, and what to ask for instead. Importable without torch."""

from dataclasses import dataclass

FAST, SLOW = 1.1, 0.95  # speedups between these are as good as none
FEW_ZEROS = 0.02
ZEROS_FOR_XNNPACK, ZEROS_FOR_OPENVINO = 2 / 3, 0.6
WHERE = {  # by pattern
    "unstructured": "anywhere",
    "filter": "in whole filters",
    "channel": "in whole channels",
    "column": "in columns",
    "kernel": "in whole kernels",
    "block": "in blocks",
}
INSTEAD = {  # by pattern: what is faster in ONNX Runtime
    "filter": "zero filters are still in the graph, where they are added to others or deliver.remove is false: for "
    "speed, allow their removal, or ask for a higher rate",
    "channel": "for speed ask for the pattern filter, whose zeros leave the graph",
    "column": "for speed ask for a higher rate, or for the pattern filter, whose zeros leave the graph",
    "n_m": "for speed on CPUs ask for the pattern filter or column",
}
INSTEAD_OF_SCATTERED = (
    "for speed in ONNX Runtime ask for the pattern filter, whose zeros leave the graph, or column, whose layers are "
    "gathered where that is faster"
)


@dataclass(frozen=True)
class Facts:
    """What is known of a delivered file.

    patterns: kinds, of what was asked for. zeros: share of the weights in the file. removed: filters and neurons.
    times in milliseconds, of a call with one example on one thread; speedup: dense / pruned, measured call by call.
    n_m: of the pattern of that kind. gathered: layers that read only the columns that are left; rewritten:
    convolutions of few pixels that are matrix products now. pointwise, products:
    share of zeros in 1x1 convolutions and in dense layers, None where there are none. bits: of quantized values.
    """

    patterns: tuple[str, ...]
    zeros: float
    removed: int
    dense_ms: float
    pruned_ms: float
    speedup: float
    pruned_bytes: int
    n_m: tuple[int, int] | None = None
    gathered: int = 0
    rewritten: int = 0
    pointwise: float | None = None
    products: float | None = None
    bits: int | None = None
    packed_bytes: int | None = None
    packed_ms: float | None = None

    @property
    def scattered(self) -> tuple[str, ...]:
        """Patterns whose zeros are in the file; those of n:m are spoken of by themselves."""
        return tuple(kind for kind in self.patterns if kind != "n_m") if self.zeros > FEW_ZEROS else ()


def about(facts: Facts) -> tuple[str, ...]:
    """Sentences without their full stops, the measured speed first.

    Sources: ONNX Runtime, issues 2121 and 5578: sparse weights are made dense when they are loaded. NVIDIA,
    Accelerating Inference with Sparsity Using the NVIDIA Ampere Architecture and NVIDIA TensorRT, 2021; ONNX Runtime,
    TensorRT Execution Provider: trt_sparsity_enable. TensorFlow, lite/delegates/xnnpack/README.md, Sparse Inference.
    OpenVINO 2025, Intel CPU properties and the notebook on sparse transformers. neuralmagic/deepsparse, README.md.
    """
    said = (sentence(facts) for sentence in SENTENCES)
    return tuple(text for text in said if text)


def _speed(f: Facts) -> str:
    taken = f"a call takes {f.pruned_ms:.3g} ms, {f.dense_ms:.3g} ms with the dense file, in ONNX Runtime on one thread"
    if f.speedup >= FAST:
        return f"{taken}: {f.speedup:.2f} times as fast, call by call"
    return f"{taken}: {'about as fast' if f.speedup > SLOW else 'slower'} ({f.speedup:.2f}x)"


def _removed(f: Facts) -> str:
    if not f.removed:
        return ""
    gone = f"{f.removed:,} filters and neurons are gone from the graph, as they were always zero or never read"
    if f.speedup > SLOW:
        return (
            f"{gone}: smaller layers are less work in any runtime, also after conversion for another; how much faster "
            "each is differs"
        )
    return (
        f"{gone}; convolutions of ONNX Runtime are fastest with channels in multiples of 8, and slower with what is "
        "left here: deliver.remove: false keeps all channels"
    )


def _gathered(f: Facts) -> str:
    if not f.gathered:
        return ""
    layers = "layer reads" if f.gathered == 1 else "layers read"
    return (
        f"{f.gathered} {layers} only the columns that are left, in standard operators, as that was faster in ONNX "
        "Runtime here; measure it where another runtime is to run it"
    )


def _rewritten(f: Facts) -> str:
    if not f.rewritten:
        return ""
    layers = (
        "convolution of few pixels is a matrix product"
        if f.rewritten == 1
        else ("convolutions of few pixels are matrix products")
    )
    return (
        f"{f.rewritten} {layers} now, as that was faster in ONNX Runtime here with one example at a time; measure it "
        "where another runtime is to run it, or ask for deliver.rewrite: false, which leaves the graph's own operators"
    )


def _zeros(f: Facts) -> str:
    if not f.scattered:
        return ""
    where = " and ".join(WHERE[kind] for kind in f.scattered)
    return (
        f"{100 * f.zeros:.0f} % of the weights in the file are zero, {where}: ONNX Runtime (on CPUs and with CUDA) and "
        "TensorRT multiply by them all the same, so they save bytes in a compressed or packed file, and no time"
    )


def _n_m(f: Facts) -> str:
    if f.n_m is None:
        return ""
    n, m = f.n_m
    if not (n == 1 or (n == 2 and m % 4 == 0)):  # then some aligned four hold more than two
        return f"no runtime is known to gain from {n} of {m}; NVIDIA's sparse tensor cores take 2 of 4"
    return (
        f"{n} of {m} gains on NVIDIA GPUs from Ampere on, with TensorRT and its sparse weights (trtexec "
        "--sparsity=enable, or trt_sparsity_enable of ONNX Runtime's TensorRT provider), in layers where it finds that "
        "faster; ONNX Runtime on CPUs and with CUDA multiplies by the zeros"
    )


def _xnnpack(f: Facts) -> str:
    if not f.scattered or min(f.zeros, f.pointwise or 0) < ZEROS_FOR_XNNPACK:
        return ""
    return (
        "XNNPACK (in LiteRT, formerly TensorFlow Lite) is known to use so many zeros in 1x1 convolutions, in nets "
        "built like MobileNet, if the file is converted with sparse weights"
    )


def _openvino(f: Facts) -> str:
    if not f.scattered or min(f.zeros, f.products or 0) < ZEROS_FOR_OPENVINO:
        return ""
    return (
        "OpenVINO can read dense layers with so many zeros packed, once they are quantized to int8; that is known to "
        "help transformers on 4th generation Xeons (CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE)"
    )


def _deepsparse(f: Facts) -> str:
    if not {"unstructured", "block"} & set(f.scattered) or f.speedup >= FAST:
        return ""
    return "DeepSparse, the runtime made for such zeros on CPUs, is not developed any more since June 2025"


def _instead(f: Facts) -> str:
    if f.speedup >= FAST or f.zeros <= FEW_ZEROS or not f.patterns:
        return ""
    return INSTEAD.get(f.patterns[0], INSTEAD_OF_SCATTERED)


def _levels(f: Facts) -> str:
    if f.bits is None:
        return ""
    return (
        f"its values are on levels of {f.bits} bits, but stored as floats, which any runtime reads: that saves bytes "
        "in a compressed or packed file, and no time"
    )


def _packed(f: Facts) -> str:
    if f.packed_bytes is None:
        return ""
    taken = f"; a call takes {f.packed_ms:.3g} ms once it is loaded" if f.packed_ms is not None else ""
    return (
        f"the packed file holds the same net in {f.packed_bytes:,} bytes instead of {f.pruned_bytes:,}, and the "
        f"runtime unpacks it while it loads{taken}"
    )


SENTENCES = (
    _speed,
    _removed,
    _gathered,
    _rewritten,
    _zeros,
    _n_m,
    _xnnpack,
    _openvino,
    _deepsparse,
    _instead,
    _levels,
    _packed,
)
