"""Makes beam.txt: what transformers' beam search answers for small language models given as tables.

The model's logits depend on the last token and on the position's parity: logits[parity][last][next].
Run with transformers and torch (CPU): python make_beam.py. The version used is in the file's header.

Format, one block a case:
  case V prompt_token num_beams num_return length_penalty early_stopping max_new min_new num_eos eos...
       (early_stopping: 0 false, 1 true, 2 "never")
  the table, 2 * V lines of V logits
  for each returned hypothesis: count token...
"""

import pathlib

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


EARLY = [False, True, "never"]
MIN_GAP = 1e-4  # between the scores of two hypotheses


class TableConfig(PretrainedConfig):
    model_type = "table"

    def __init__(self, vocab_size=8, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.num_hidden_layers = 1
        self.hidden_size = 1
        self.num_attention_heads = 1


class TableModel(PreTrainedModel, GenerationMixin):
    config_class = TableConfig

    def __init__(self, config, table):
        super().__init__(config)
        self.table = table
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, **kwargs):
        parity = torch.arange(input_ids.shape[1]) % 2
        return CausalLMOutput(logits=self.table[parity[None, :], input_ids])

    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return {"input_ids": input_ids}


def main():
    generator = torch.Generator().manual_seed(20)
    lines = [f"# transformers {transformers.__version__}, torch {torch.__version__}"]
    cases = []
    for beams in (2, 3, 5):
        for penalty in (0.0, 1.0, 2.0, -0.5):
            for early in (False, True):
                cases.append((beams, penalty, early, 12, 0, [1]))
    cases += [(4, 1.0, False, 1, 0, [1]), (4, 1.0, False, 10, 4, [1]), (3, 1.0, True, 10, 0, [1, 2, 3]),
              (4, 0.7, False, 16, 3, [1, 2]), (2, 1.0, False, 8, 8, [1])]
    for beams in (2, 4):
        for penalty in (0.5, 1.0, 2.0, -0.5):
            cases.append((beams, penalty, "never", 14, 0, [1]))
    for beams, penalty, early, max_new, min_new, eos in cases:
        vocab = 24
        while True:
            # Three digits after the point, so that the file says exactly what was used.
            table = torch.round(torch.randn(2, vocab, vocab, generator=generator) * 1500) / 1000
            table[:, :, eos] += 1.0
            model = TableModel(TableConfig(vocab_size=vocab), table)
            config = GenerationConfig(
                num_beams=beams, num_return_sequences=beams, length_penalty=penalty, do_sample=False,
                early_stopping=early, max_new_tokens=max_new, eos_token_id=eos, pad_token_id=0,
                use_cache=False, return_dict_in_generate=True, output_scores=True,
                **({"min_new_tokens": min_new} if min_new else {}))
            prompt = 4
            out = model.generate(torch.tensor([[prompt]]), generation_config=config)
            # Hypotheses that go round the same tokens in another order differ by rounding alone.
            if (out.sequences_scores[:-1] - out.sequences_scores[1:]).min() > MIN_GAP:
                break
        returned = min(beams, 2)
        lines.append(f"case {vocab} {prompt} {beams} {returned} {penalty} {EARLY.index(early)} {max_new} "
                     f"{min_new} {len(eos)} " + " ".join(map(str, eos)))
        for row in table.reshape(2 * vocab, vocab).tolist():
            lines.append(" ".join(f"{x:.3f}" for x in row))
        for row in out.sequences[:returned, 1:].tolist():
            end = next((i + 1 for i, t in enumerate(row) if t in eos), len(row))
            # Padding after the end; a hypothesis without eos has the full length.
            row = row[:end]
            lines.append(f"{len(row)} " + " ".join(map(str, row)))
    path = pathlib.Path(__file__).with_name("beam.txt")
    path.write_text("\n".join(lines) + "\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
