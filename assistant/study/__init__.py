"""Tutor mode: the learner commits first, then learns. Code makes and marks every item; the model is another reader.

    gate = open_gate(data_dir)
    question = gate.next("me")                       # all that may be known before an answer
    gate.commit("me", Commitment(question.attempt_id, "Left", certainty=2))     # the verdict and all that helps

`items` is the data that travels, `gate` the only way from an attempt to what it reveals, `log` the only truth.
"""
