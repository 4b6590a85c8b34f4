"""gymnasium's environments in processes, with shared memory."""

import sys

import gymnasium as gym
import numpy as np


def make():
    return gym.make("CartPole-v1")


def main(method):
    environments = gym.vector.AsyncVectorEnv([make, make], context=method)
    observations, _ = environments.reset(seed=[1, 2])
    print(observations.round(3).tolist())
    for _ in range(5):
        observations, rewards, *_ = environments.step(np.array([0, 1]))
    print(observations.round(3).tolist(), rewards.tolist())
    environments.close()


if __name__ == "__main__":
    main(sys.argv[1])
