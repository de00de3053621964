def test_product_of_precision_and_recall(ranking):
    assert ranking("SetAP", "xyza", a=1, b=1) == 1 / 4 * 1 / 2
