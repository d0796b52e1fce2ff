"""How long something that PyTorch launches takes on the GPU, for the baselines of the compare scripts."""
import torch


def median_us(launch, samples, target_us):
    """Replays of a graph of `launch`, so that no gap between launches counts: the median of `samples` of
    about `target_us` each."""
    launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def sample(repeats):
        start.record()
        for _ in range(repeats):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) * 1000 / repeats

    repeats = max(1, int(target_us / sample(3)))
    return sorted(sample(repeats) for _ in range(samples))[samples // 2]
