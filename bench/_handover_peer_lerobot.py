"""LeRobot's ActionQueue and RTC, driven by lines of JSON; runs in an environment of its own.

`bench.handover` starts it there: it imports nothing of this project. What surrounds the queue in
LeRobot's `RTCInferenceEngine` (0.6.1) - the delay told from the longest latency so far, what is
left over cut to the execution horizon, actions popped one a tick - is done here in the same order,
because the engine itself runs on threads and a real clock.
"""

import json
import math
import sys

import _data_peer_start  # noqa: F401
import torch
from lerobot.policies.rtc.action_queue import ActionQueue
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.rtc.latency_tracker import LatencyTracker
from lerobot.policies.rtc.modeling_rtc import RTCProcessor

# Steps of flow matching, as in LeRobot's pi0 and SmolVLA.
FLOW_STEPS = 10


class Peer:
    """One queue, its latency tracker, and the sampler of a policy that is a normal distribution."""

    def start(self, rtc, period_s, covariance, root):
        """Begin anew; `covariance` (H, H) of chunks in the policy's units, and its root."""
        self.config = RTCConfig(enabled=rtc)
        self.queue, self.latencies = ActionQueue(self.config), LatencyTracker()
        self.processor = RTCProcessor(self.config)
        self.period_s = period_s
        self.covariance = torch.tensor(covariance, dtype=torch.float64)
        self.root = torch.tensor(root, dtype=torch.float64)
        return True

    def ask(self, mean, noise):
        """Sample a chunk (H, 6); with RTC, guided by what is left of the one before."""
        self.index = self.queue.get_action_index()
        left = self.queue.get_left_over()
        longest = self.latencies.max()
        delay = math.ceil(longest / self.period_s) if longest else 0
        mean, noise = (torch.tensor(x, dtype=torch.float64) for x in (mean, noise))
        if not self.config.enabled or left is None or not len(left):
            self.chunk = mean + self.root @ noise
        else:
            self.chunk = self.sample(mean, noise, left[: self.config.execution_horizon], delay)
        return True

    def sample(self, mean, noise, left, delay):
        """Return their guided sample: Euler steps from noise at time 1 to actions at time 0."""
        eye = torch.eye(len(mean), dtype=torch.float64)
        x = noise
        for step in range(FLOW_STEPS):
            time = 1.0 - step / FLOW_STEPS
            spread = torch.linalg.inv((1 - time) ** 2 * self.covariance + time**2 * eye)
            gain = (1 - time) * self.covariance @ spread

            def velocity(x, time=time, gain=gain):
                clean = mean + gain @ (x.squeeze(0) - (1 - time) * mean)
                noise = (x.squeeze(0) - (1 - time) * clean) / time
                return (noise - clean).unsqueeze(0)

            x = x - self.processor.denoise_step(x, left, delay, time, velocity) / FLOW_STEPS
        return x

    def deliver(self, latency_s):
        """Merge the chunk as their engine does; return what the queue holds then."""
        self.latencies.add(latency_s)
        delay = math.ceil(latency_s / self.period_s)
        self.queue.merge(self.chunk, self.chunk.clone(), delay, self.index)
        held = self.queue.get_processed_left_over()
        return [] if held is None else held.tolist()

    def pop(self, count):
        """Return the next `count` actions, one a tick; None where the queue has none."""
        actions = (self.queue.get() for _ in range(count))
        return [None if action is None else action.tolist() for action in actions]


def main():
    """Answer one line each."""
    peer = Peer()
    for line in sys.stdin:
        call, arguments = json.loads(line)
        print(json.dumps(getattr(peer, call)(**arguments)), flush=True)


if __name__ == "__main__":
    main()
