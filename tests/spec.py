"""The models written a second time, in plain NumPy and in the symbols of their specifications, and solved by SciPy.

Nothing here uses thrombojax. Flagship: model.md sections 2 and 3; Wang 2010: science.md M1; eltrombopag: M3; lusutrombopag: M4.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

# symbol: (name of the leaf in thrombojax, typical value of model.md section 3)
FLAGSHIP: Mapping[str, tuple[str, float]] = {
    "WT": ("body.weight", 70),
    "age": ("body.age", 50),
    "woman": ("body.female", 0),
    "asian": ("body.east_asian", 0),
    "CP": ("body.child_pugh", 0),
    "steroids": ("body.corticosteroids", 0),
    "KD": ("receptor.mpl_affinity", 32),
    "b0": ("receptor.mpl_constitutive", 0.002),
    "b0ref": ("receptor.mpl_constitutive_reference", 0.002),
    "J": ("receptor.jak2_gain", 1),
    "rho_prog": ("receptor.mpl_progenitor", 1),
    "rho_mk": ("receptor.mpl_megakaryocyte", 1),
    "rho_plt": ("receptor.mpl_platelet", 1),
    "kb": ("receptor.mpl_internalisation", 0.17),
    "gi": ("receptor.ligand_block", 0),
    "E_resp": ("receptor.transmembrane_response", 1),
    "qcap": ("megakaryocytes.stem_capacity", 1),
    "rQ": ("megakaryocytes.stem_renewal", 0.12),
    "mQ": ("megakaryocytes.stem_tpo_max", 1.3),
    "loQ": ("megakaryocytes.stem_tpo_floor", 0.5),
    "kC": ("megakaryocytes.cfu_rate", 1.05),
    "mA": ("megakaryocytes.cfu_gain_max", 7.1),
    "loA": ("megakaryocytes.cfu_gain_floor", 0.735),
    "kEnd": ("megakaryocytes.endomitosis_rate", 1.6),
    "mW": ("megakaryocytes.endomitosis_max", 3),
    "loW": ("megakaryocytes.endomitosis_floor", 0.5),
    "x8": ("megakaryocytes.exit_8n", 0.18),
    "x16": ("megakaryocytes.exit_16n", 0.67),
    "x32": ("megakaryocytes.exit_32n", 0.81),
    "kM": ("megakaryocytes.maturation_rate", 0.65),
    "qkill": ("megakaryocytes.stem_kill_share", 0.3),
    "ekill": ("megakaryocytes.ladder_kill_share", 0.3),
    "kloc": ("niche.niche_localisation", 0.6),
    "kdie": ("niche.megakaryocyte_death", 0.4),
    "adie": ("niche.megakaryocyte_death_no_tpo", 2.5),
    "krel": ("niche.release_rate", 1),
    "kinj": ("niche.antibody_injury", 0),
    "nu": ("niche.niche_integrity", 1),
    "mot": ("niche.motility", 1),
    "sdf": ("niche.sdf1", 1),
    "fgf": ("niche.fgf4", 1),
    "yld": ("niche.platelets_per_megakaryocyte", 1),
    "P0ref": ("platelets.reference_count", 250),
    "life": ("platelets.lifespan", 10.5),
    "vHS": ("platelets.vascular_consumption", 7.1),
    "KHS": ("platelets.vascular_smoothing", 25),
    "krand": ("platelets.random_loss", 0),
    "kimm": ("platelets.immune_clearance", 0),
    "Kimm": ("platelets.immune_saturation", 45),
    "psi": ("platelets.spleen_ratio", 0.5),
    "fspl": ("platelets.splenic_destruction", 0.6),
    "kT": ("thrombopoietin.tpo_turnover", 1.5),
    "VT": ("thrombopoietin.tpo_volume", 17),
    "fns": ("thrombopoietin.tpo_nonspecific", 0.0165),
    "fp": ("thrombopoietin.tpo_platelet_share", 0.6),
    "gthpo": ("thrombopoietin.tpo_dose", 1),
    "lLiv": ("thrombopoietin.liver_share", 0.8),
    "lKid": ("thrombopoietin.kidney_share", 0.1),
    "lStr": ("thrombopoietin.stroma_share", 0.1),
    "lf": ("thrombopoietin.liver_function", 1),
    "IL6": ("thrombopoietin.il6", 0),
    "eIL6": ("thrombopoietin.il6_gain", 0.5),
    "aAM": ("thrombopoietin.ashwell_morell", 0.15),
    "kapAM": ("thrombopoietin.ashwell_morell_saturation", 1),
    "kH": ("thrombopoietin.mrna_rate", 1),
    "nab": ("thrombopoietin.neutralised", 0),
    "pf4": ("regulators.pf4", 1),
    "kapF": ("regulators.pf4_inhibition", 0.35),
    "piF": ("regulators.pf4_protection", 0.15),
    "wF": ("regulators.pf4_platelet_share", 0.5),
    "kF": ("regulators.pf4_rate", 1),
    "tgf": ("regulators.tgfb", 1),
    "kapG": ("regulators.tgfb_inhibition", 0.2),
    "kG": ("regulators.tgfb_rate", 0.5),
    "kapS": ("regulators.stroma_restraint", 1),
    "lamB": ("hazards.bleeding_rate", 2.7e-4),
    "gB": ("hazards.bleeding_gain", 3.2),
    "cB": ("hazards.bleeding_count", 12),
    "covB": ("hazards.bleeding_multiplier", 1),
    "lamT": ("hazards.thrombosis_rate", 2.82e-5),
    "aT": ("hazards.thrombosis_gain", 0.5),
    "cT": ("hazards.thrombosis_count", 1000),
    "covT": ("hazards.thrombosis_multiplier", 1),
}
ROMIPLOSTIM: Mapping[str, tuple[str, float]] = {
    "KR": ("romiplostim.potency", 0.075),
    "ka": ("romiplostim.absorption", 0.6096),
    "Vc": ("romiplostim.volume", 0.0683),
    "kel": ("romiplostim.elimination", 0.9168),
    "kcp": ("romiplostim.to_peripheral", 1.9344),
    "kpc": ("romiplostim.from_peripheral", 0.3552),
    "Fsc": ("romiplostim.bioavailability", 0.499),
    "kint": ("romiplostim.internalisation", 4.152),
    "xi": ("romiplostim.receptor_density", 0.0215),
    "KDr": ("romiplostim.binding", 0.131),
    "set2": ("romiplostim.sinks_by_binding", 0),
    "nabR": ("romiplostim.neutralised", 0),
}
# Section 6, per hour in the source.
ELTROMBOPAG: Mapping[str, tuple[str, float]] = {
    "Emax": ("eltrombopag.emax", 2.5),
    "EC50": ("eltrombopag.potency", 3.3),
    "CL": ("eltrombopag.clearance", 0.953 * 24),
    "Vce": ("eltrombopag.central_volume", 9.75),
    "Qe": ("eltrombopag.intercompartmental", 0.633 * 24),
    "Vpe": ("eltrombopag.peripheral_volume", 9.41),
    "ka1": ("eltrombopag.absorption_early", 0.333 * 24),
    "ka2": ("eltrombopag.absorption_late", 5.26 * 24),
    "switch": ("eltrombopag.absorption_switch", 1.46 / 24),
    "lag": ("eltrombopag.lag", 0.447 / 24),
}
AVATROMBOPAG: Mapping[str, tuple[str, float]] = {
    "EmaxA": ("avatrombopag.emax", 4.52),
    "EC50A": ("avatrombopag.potency", 145),
    "CLA": ("avatrombopag.clearance", 6.9 * 24),
    "VA": ("avatrombopag.volume", 180),
    "kaA": ("avatrombopag.absorption", 0.35 * 24),
    "lagA": ("avatrombopag.lag", 1 / 24),
}
# Section 6 and science.md M4, per day in the source; the factor is that of Japanese volunteers.
LUSUTROMBOPAG: Mapping[str, tuple[str, float]] = {
    "EmaxL": ("lusutrombopag.emax", 4.52),
    "EC50L": ("lusutrombopag.potency", 139),
    "Frel": ("lusutrombopag.relative_bioavailability", 0.857),
    "kaL": ("lusutrombopag.absorption", 7.176),
    "kelL": ("lusutrombopag.elimination", 1.358),
    "VcL": ("lusutrombopag.central_volume", 13.7),
    "k12L": ("lusutrombopag.to_first", 1.2816),
    "k21L": ("lusutrombopag.from_first", 2.088),
    "k13L": ("lusutrombopag.to_second", 0.03408),
    "k31L": ("lusutrombopag.from_second", 0.14088),
}
# name of the leaf: value of science.md M1 (rates per hour there)
WANG: Mapping[str, tuple[str, float]] = {
    "ka": ("absorption", 0.0254 * 24),
    "Vc": ("volume", 0.0683),
    "kel": ("elimination", 0.0382 * 24),
    "kcp": ("to_peripheral", 0.0806 * 24),
    "kpc": ("from_peripheral", 0.0148 * 24),
    "Fsc": ("bioavailability", 0.499),
    "kint": ("internalisation", 0.173 * 24),
    "xi": ("receptor_density", 0.0215),
    "KD": ("binding", 0.131),
    "SC50": ("potency", 0.0520),
    "Smax": ("stimulation", 11.2),
    "TP": ("precursor_lifespan", 142 / 24),
    "TPLT": ("platelet_lifespan", 253 / 24),
    "PLT0": ("baseline_platelets", 250),
    "WT": ("weight", 70),
}

STATES = (
    *("Q", "C1", "C2", "C3", "e4", "e8", "e16", "e32", "e64", "M1", "M2", "M3", "L"),
    *(f"p{j}" for j in range(1, 9)),
    *("T", "H", "R", "F", "G"),
)
"""The order of the core's leaves in thrombojax."""
DRUG_STATES = {
    "avatrombopag": ("gutA", "centA"),
    "eltrombopag": ("gut", "cent", "peri"),
    "lusutrombopag": ("gutL", "centL", "per1L", "per2L"),
    "romiplostim": ("A", "B", "D"),
    "transfusion": (),
}


def typical(*tables: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    return {symbol: float(value) for table in tables for symbol, (_, value) in table.items()}


def free(total: Any, capacity: Any, binding: Any) -> Any:
    """The root of the binding quadratic, in the form that does not cancel."""
    d = total - capacity - binding
    root = np.sqrt(d * d + 4 * binding * total)
    return np.where(d < 0, 2 * binding * total / np.where(d < 0, root - d, 1.0), 0.5 * (d + root))


def response(s: Any, m: Any, lo: Any) -> Any:
    return lo + (m - lo) * s / (s + (m - 1) / (1 - lo))


def flagship(
    y: Mapping[str, Any], p: Mapping[str, Any], early: bool = False, kill: Any = 0.0, u_hu: Any = 0.0, I_ana: Any = 0.0,
    I_ifn: Any = 0.0, **given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Section 2 for states by symbol; drugs whose states are absent are absent. early: eltrombopag before its switch;
    kill: kkill K of chemotherapy; given: what else is given or taken, by the symbol of what it adds to or takes a share of.

    The outputs are in the same dict under the names P, Mk, ploidy, production, immature, age, bleeding,
    thrombosis, X, conc, concA, concL.
    """
    g = dict.fromkeys(("IL6", "T", "F", "-F", "G", "sdf", "fgf", "-nu", "krand", "-psi", "-s"), 0.0) | given
    kP = 8 / p["life"]
    N0 = 1.5 * p["P0ref"]
    h0 = p["vHS"] / (N0 + p["KHS"])
    r0 = kP / (kP + h0)
    prod0 = h0 * N0 / (1 - r0**8)
    p8_0 = prod0 / kP * r0**8
    lam0 = prod0 / N0
    KD = p["KD"]
    s0 = p["b0ref"] + 1 / (1 + KD)
    occ0 = 1 / (1 + 1 / KD)
    k3 = p["kloc"] + p["kdie"]
    kA = (p["mA"] - 1) / (1 - p["loA"])
    fm = 1 - p["fns"] - p["fp"]
    w = p["fp"] / (1 - p["fns"])
    # 2.1
    N = sum(y[f"p{j}"] for j in range(1, 9))
    psi = (1 - g["-psi"]) * p["psi"] + g["-psi"] * 0.02
    P = N / (1 + psi)
    kM, krel, kloc = p["kM"], p["krel"], p["kloc"]
    weights = 2 / kM + 1 / k3 + kloc / k3 / krel
    Mk = (y["M1"] / kM + y["M2"] / kM + y["M3"] / k3 + y["L"] * (kloc / k3) / krel) / weights
    kimm = p["kimm"] * (1 - g["-psi"] * p["fspl"])
    h = p["vHS"] / (N + p["KHS"]) + p["krand"] + g["krand"] + kimm / (1 + P / p["Kimm"])
    prod = prod0 * p["yld"] * (1 - I_ifn) * y["L"]
    gone = kP * y["p8"] + h * N
    z_t, lam = gone / prod0, gone / N
    X = Te = 0.0
    if "B" in y:
        V = p["Vc"] * p["WT"]
        Ct = y["B"] / V
        Rr = p["xi"] * p["P0ref"] * (w * (N / N0) * p["rho_plt"] + (1 - w) * Mk * p["rho_mk"])
        X = free(Ct, Rr, p["KDr"])
        Te = X * KD * np.where(p["set2"] == 1, 1 / p["KDr"], 1 / p["KR"])
    E = 0.0
    if "cent" in y:
        conc = y["cent"] / p["Vce"]
        E += p["Emax"] * conc / (p["EC50"] + conc) * p["E_resp"]
    if "centA" in y:
        conc = 1000 * y["centA"] / p["VA"]
        E += p["EmaxA"] * conc / (p["EC50A"] + conc) * p["E_resp"]
    if "centL" in y:
        conc = 1000 * y["centL"] / p["VcL"]
        E += p["EmaxL"] * conc / (p["EC50L"] + conc) * p["E_resp"]
    # 2.2
    T = (1 - p["nab"]) * y["T"]
    u = (1 - p["gi"]) * (T / KD + (X / p["KR"] if "B" in y else 0.0))
    th = u / (1 + u)
    a = p["J"] * ((p["b0"] + th) / s0 + E)
    sp, sm = ((1 - g["-s"]) * rho * a + g["-s"] for rho in (p["rho_prog"], p["rho_mk"]))
    # 2.3
    hF = (1 + p["kapF"]) / (1 + p["kapF"] * y["F"])
    nu = p["nu"] * (1 - g["-nu"])
    al = p["loA"] * nu * (p["fgf"] + g["fgf"]) + (p["mA"] - p["loA"]) * sp / (sp + kA)
    kC, kEnd = p["kC"], p["kEnd"]
    killed = kill * (1 + p["piF"]) / (1 + p["piF"] * y["F"])
    kc, ek = killed + u_hu, p["ekill"] * killed
    d = {
        "Q": p["rQ"] * y["Q"] * (p["qcap"] * response(sp, p["mQ"], p["loQ"]) - y["Q"]) - p["qkill"] * killed * y["Q"],
        "C1": kC * (al * y["Q"] - y["C1"]) - kc * y["C1"],
        "C2": kC * (al * y["C1"] - y["C2"]) - kc * y["C2"],
        "C3": kC * (hF * y["C2"] - y["C3"]) - kc * y["C3"],
    }
    # 2.4
    x8, x16, x32 = p["x8"], p["x16"], p["x32"]
    om = response(sm, p["mW"], p["loW"]) * (1 + p["kapG"]) / (1 + p["kapG"] * y["G"])
    d["e4"] = kEnd * y["C3"] - (kEnd * om + ek) * y["e4"]
    d["e8"] = kEnd * om * y["e4"] - (kEnd * (x8 + (1 - x8) * om) + ek) * y["e8"]
    d["e16"] = kEnd * (1 - x8) * om * y["e8"] - (kEnd * (x16 + (1 - x16) * om) + ek) * y["e16"]
    d["e32"] = kEnd * (1 - x16) * om * y["e16"] - (kEnd * (x32 + (1 - x32) * om) + ek) * y["e32"]
    d["e64"] = kEnd * (1 - x32) * om * y["e32"] - (kEnd + ek) * y["e64"]
    W0 = 8 * x8 + 16 * (1 - x8) * x16 + 32 * (1 - x8) * (1 - x16) * x32 + 64 * (1 - x8) * (1 - x16) * (1 - x32)
    mass = 8 * x8 * y["e8"] + 16 * x16 * y["e16"] + 32 * x32 * y["e32"] + 64 * y["e64"]
    cells = x8 * y["e8"] + x16 * y["e16"] + x32 * y["e32"] + y["e64"]
    # 2.5
    chi = nu * p["mot"] * (p["sdf"] + g["sdf"])
    die = p["kdie"] * p["adie"] / (1 + (p["adie"] - 1) * sm) + p["kinj"] * 3 / (1 + 2 * sm**2)
    d["M1"] = kM * (mass / W0 * (1 - I_ana) - y["M1"])
    d["M2"] = kM * (y["M1"] - y["M2"])
    d["M3"] = k3 * y["M2"] - (kloc * chi + die) * y["M3"]
    d["L"] = krel * (chi * y["M3"] - y["L"])
    # 2.6
    d["p1"] = prod - (kP + h) * y["p1"]
    for j in range(2, 9):
        d[f"p{j}"] = kP * y[f"p{j - 1}"] - (kP + h) * y[f"p{j}"]
    # 2.7
    occ = 1 / (1 + (T + Te) / KD)
    d["R"] = p["rho_plt"] * (lam0 + p["kb"]) * prod / prod0 - lam * y["R"] - p["kb"] * (T + Te) * (occ / occ0) * y["R"]
    Cl = (
        (p["fns"] + p["nab"]) * y["T"]
        + p["fp"] * T * y["R"] * occ / occ0
        + fm * p["rho_mk"] * Mk * (1 + KD) * T / (KD + T + Te)
    )
    hS = (1 + p["kapS"]) / (1 + p["kapS"] * (y["F"] + y["G"]) / 2)
    S = p["gthpo"] * (
        p["lLiv"] * p["lf"] * y["H"] * (1 + p["eIL6"] * (p["IL6"] + g["IL6"])) + p["lKid"] + p["lStr"] * hS
    )
    d["T"] = p["kT"] * (S - Cl) + g["T"]
    zA = y["p8"] / p8_0
    d["H"] = p["kH"] * (1 - p["aAM"] + p["aAM"] * (1 + p["kapAM"]) * zA / (p["kapAM"] + zA) - y["H"])
    # 2.8
    d["F"] = p["kF"] * ((1 - g["-F"]) * p["pf4"] * (p["wF"] * z_t + (1 - p["wF"]) * Mk) + g["F"] - y["F"])
    d["G"] = p["kG"] * (p["tgf"] * Mk + g["G"] - y["G"])
    # 2.9
    if "B" in y:
        d["A"] = -p["ka"] * y["A"]
        d["B"] = p["ka"] * y["A"] - (p["kel"] + p["kcp"]) * X * V + p["kpc"] * y["D"] - p["kint"] * (Ct - X) * V
        d["D"] = p["kcp"] * X * V - p["kpc"] * y["D"]
    if "cent" in y:
        ka = p["ka1"] if early else p["ka2"]
        liver = np.where(p["CP"] > 0, 0.536 * (1 - 0.113 * (np.maximum(p["CP"], 5) - 5)), 1)
        factor = (
            (1 - 0.19 * p["woman"]) * (1 - 0.33 * p["asian"]) * (1 - 0.26 * p["steroids"]) * np.maximum(liver, 0.05)
        )
        k12, k21, ke = p["Qe"] / p["Vce"], p["Qe"] / p["Vpe"], p["CL"] * factor / p["Vce"]
        d["gut"] = -ka * y["gut"]
        d["cent"] = ka * y["gut"] - (ke + k12) * y["cent"] + k21 * y["peri"]
        d["peri"] = k12 * y["cent"] - k21 * y["peri"]
    if "centA" in y:
        d["gutA"] = -p["kaA"] * y["gutA"]
        d["centA"] = p["kaA"] * y["gutA"] - p["CLA"] / p["VA"] * y["centA"]
    if "centL" in y:
        d["gutL"] = -p["kaL"] * y["gutL"]
        d["centL"] = (
            p["kaL"] * y["gutL"]
            - (p["kelL"] + p["k12L"] + p["k13L"]) * y["centL"]
            + p["k21L"] * y["per1L"]
            + p["k31L"] * y["per2L"]
        )
        d["per1L"] = p["k12L"] * y["centL"] - p["k21L"] * y["per1L"]
        d["per2L"] = p["k13L"] * y["centL"] - p["k31L"] * y["per2L"]
    # 2.10
    d["P"], d["Mk"], d["ploidy"], d["production"] = P, Mk, mass / cells, prod / prod0
    d["immature"] = y["p1"] / N
    d["age"] = sum(j * y[f"p{j}"] for j in range(1, 9)) / ((kP + h) * N)
    d["survival"], d["spleen"] = N / gone, psi / (1 + psi)
    d["bleeding"] = p["lamB"] * (1 + p["gB"] * np.exp(-P / p["cB"])) * p["covB"]
    d["thrombosis"] = (
        p["lamT"] * p["covT"] * np.where(p["age"] > 60, 1.5, 1) * (1 + p["aT"] * P**2 / (P**2 + p["cT"] ** 2))
    )
    d["X"], d["conc"] = X, y["cent"] / p["Vce"] if "cent" in y else 0.0
    d["concA"] = 1000 * y["centA"] / p["VA"] if "centA" in y else 0.0
    d["concL"] = 1000 * y["centL"] / p["VcL"] if "centL" in y else 0.0
    return d


def flagship_vector(p: Mapping[str, float], *drugs: str) -> tuple[tuple[str, ...], Callable[..., np.ndarray]]:
    """Names of the states and f(t, y, early) for SciPy."""
    states = (*STATES, *(s for drug in drugs for s in DRUG_STATES[drug]))

    def f(t: float, y: np.ndarray, early: bool = False) -> np.ndarray:
        d = flagship(dict(zip(states, map(float, y), strict=True)), p, early)
        return np.array([d[s] for s in states])

    return states, f


WANG_STATES = ("A", "B", "D", *(f"prec{i}" for i in range(1, 11)), *(f"plt{i}" for i in range(1, 11)))


def wang(y: np.ndarray, p: Mapping[str, Any]) -> np.ndarray:
    """Derivatives per day of the 23 states; y `[state]` or `[state, patient]`."""
    a, b, d, prec, plt = y[0], y[1], y[2], y[3:13], y[13:23]
    V = p["Vc"] * p["WT"]
    X = free(b / V, p["xi"] * plt.sum(0), p["KD"])
    kin = p["PLT0"] / p["TPLT"]
    ktr, kage = 10 / p["TP"], 10 / p["TPLT"]
    d_a = -p["ka"] * a
    d_b = p["ka"] * a - p["kel"] * X * V - p["kcp"] * X * V + p["kpc"] * d - p["kint"] * (b / V - X) * V
    d_d = p["kcp"] * X * V - p["kpc"] * d
    first = kin * (1 + p["Smax"] * X / (p["SC50"] + X)) - ktr * prec[0]
    return np.concatenate(
        [
            [d_a, d_b, d_d, first],
            ktr * (prec[:-1] - prec[1:]),
            [ktr * prec[-1] - kage * plt[0]],
            kage * (plt[:-1] - plt[1:]),
        ]
    )


def wang_start(p: Mapping[str, Any]) -> np.ndarray:
    return np.array([0.0, 0.0, 0.0] + [p["PLT0"] * p["TP"] / (10 * p["TPLT"])] * 10 + [p["PLT0"] / 10] * 10)


def wang_free(y: np.ndarray, p: Mapping[str, Any]) -> Any:
    return free(y[1] / (p["Vc"] * p["WT"]), p["xi"] * y[13:23].sum(0), p["KD"])


class Course:
    """A piecewise solution: values at any day; at a jump the value before it (`after=True`: after it)."""

    def __init__(self, edges: Sequence[float], pieces: Sequence[Any]):
        self.edges, self.pieces = np.asarray(edges), pieces

    def __call__(self, times: Any, after: bool = False) -> np.ndarray:
        times = np.atleast_1d(np.asarray(times, float))
        which = np.clip(np.searchsorted(self.edges, times, "right" if after else "left") - 1, 0, len(self.pieces) - 1)
        parts = [self.pieces[k](times[which == k]) for k in np.unique(which)]
        values = np.empty((parts[0].shape[0], len(times)))
        for k, part in zip(np.unique(which), parts, strict=True):
            values[:, which == k] = part
        return values


def integrate(
    f: Callable[..., np.ndarray],
    y0: np.ndarray,
    jumps: Mapping[float, Callable[[np.ndarray], np.ndarray]],
    end: float,
    *,
    kinks: Sequence[float] = (),
    args: Callable[[float], tuple[Any, ...]] = lambda t: (),
    method: str = "DOP853",
    rtol: float = 1e-11,
    atol: float = 1e-13,
) -> Course:
    """Solve from day 0 to `end`, restarted at every jump and kink; args(t): more arguments of f on the piece from t."""
    edges = sorted({0.0, *(t for t in (*jumps, *kinks) if t < end)})
    pieces, y = [], np.asarray(y0, float)
    for start, stop in zip(edges, [*edges[1:], end], strict=True):
        if start in jumps:
            y = jumps[start](y.copy())
        solution = solve_ivp(
            f, (start, stop), y, method=method, rtol=rtol, atol=atol, args=args(start), dense_output=True
        )
        assert solution.success, solution.message
        pieces.append(solution.sol)
        y = solution.y[:, -1]
    return Course(edges, pieces)
