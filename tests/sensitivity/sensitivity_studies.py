"""Small studies of sensitivity, written where a test wants them."""

STUDY = """
schema = 1

[study]
name = "small"
model = "wang2010"
days = 42
accuracy = 1e-4

[patients]
overrides = { baseline_platelets = 40 }

[[arm]]
name = "fixed"
regimen = "romiplostim {dose} ug/kg sc weekly x 5 then romiplostim 2 ug/kg iv once from day 38"

[time]
save = 21

[[endpoint]]
name = "peak"
reducer = "peak"

[[endpoint]]
name = "drug"
reducer = "cumulative_dose"
drug = "romiplostim"

[[endpoint]]
name = "mean"
reducer = "mean"
from = 7

[output]
trajectories = true

[sensitivity]
base = 512
replicates = 8
sample = 64
derivatives = 64

[[sensitivity.factor]]
name = "dose"
distribution = "log-uniform"
low = 0.5
high = 4

[[sensitivity.factor]]
name = "potency"
parameter = "potency"
distribution = "log-normal"
median = 0.05
cv = 0.4
low = 0.015
high = 0.4

[[sensitivity.factor]]
name = "lifespan"
parameter = "platelet_lifespan"
distribution = "range"
"""

TITRATED = """
schema = 1

[study]
name = "titrated"
model = "wang2010"
days = 70
placebo = false

[patients]
overrides = { baseline_platelets = 20 }

[[arm]]
name = "rule"

[arm.policy]
drug = "romiplostim"
start = "{start}"
route = "sc"
unit = "ug/kg"
every = 7
rounding = 0
vial = 0
lowest = 1
highest = 10
rules = [
  { to = 50, action = "raise", by = "{step}" },
  { from = 50, to = "{aim}", action = "keep" },
  { from = "{aim}", action = "lower", by = 1 },
]

[observation]
residual_cv = 0.2

[[endpoint]]
name = "weeks"
reducer = "weeks_of_response"
threshold = 50

[[endpoint]]
name = "given"
reducer = "titrated_dose"

[sensitivity]
base = 128
replicates = 8
sample = 32

[[sensitivity.factor]]
name = "start"
distribution = "uniform"
low = 1
high = 3

[[sensitivity.factor]]
name = "step"
distribution = "uniform"
low = 0.5
high = 2

[[sensitivity.factor]]
name = "aim"
distribution = "uniform"
low = 150
high = 250
"""


def write(folder, *changes, text=STUDY, name="small.toml"):
    """The study with some of its text replaced, in a file."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
