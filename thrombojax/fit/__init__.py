"""What data say about parameters: individual fits of patients' counts, and the calibration of a parameter set."""

from thrombojax.fit.calibration import Calibrated, calibrate
from thrombojax.fit.patients import Fits, individual, samples

__all__ = ["Calibrated", "Fits", "calibrate", "individual", "samples"]
