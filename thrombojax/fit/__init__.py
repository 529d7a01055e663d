"""What data say about parameters: individual fits of patients' counts, and the calibration of a parameter set."""

from thrombojax.fit.patients import Fits, individual, samples

__all__ = ["Fits", "individual", "samples"]
