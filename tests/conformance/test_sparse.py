from ironbound import L0, recipes, testing


def jsma():
    return recipes.jsma(gamma=0.5)


def maximal():
    return recipes.jsma(gamma=0.5, maximal=True)


def sigma_zero():
    return recipes.sigma_zero(5)


def vfga():
    return recipes.vfga(5)


def greedy_l0():
    return recipes.greedy_l0(5)


class TestSparse(testing.SearchConformance):
    attacks = [jsma, maximal, sigma_zero, vfga, greedy_l0]
    threats = (L0(5), L0(6, of="coordinates"))


class TestColour(testing.SearchConformance):
    attacks = [jsma, maximal, sigma_zero, vfga, greedy_l0]
    threats = (L0(3), L0(6, of="coordinates"))
    shape = (3, 4, 4)
