"""Where a chunk's time goes, part by part, beside what the hardware could do: `bench --profile`."""

from runtime.profiling.ceilings import Ceilings, measure_ceilings
from runtime.profiling.profile import PartTime, Profile, profile_step

__all__ = ["Ceilings", "PartTime", "Profile", "measure_ceilings", "profile_step"]
