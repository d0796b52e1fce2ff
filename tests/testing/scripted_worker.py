"""A worker without a model, in this process: it says chosen texts in chosen groups of tokens.

The vocabulary is bytes, as of tests/testing/fake_worker.h, so that a text of N bytes is N tokens, and a group of N tokens
is N bytes of it. Every sequence gets the next text of `script`, or what `script` says of the prompt if it is a function.
"""

import hashlib
import queue
import sys
import threading
from concurrent import futures

import grpc
from grpc_tools import protoc

IM_START, IM_END = 256, 257
CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Calls: <tool_call>{"name": NAME, "arguments": {...}}</tool_call><|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def byte_stand_in(byte):
    """GPT-2's printable character for a byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte if byte in printable else 0x100 + len([b for b in range(byte) if b not in printable]))


def load_protos(root, out):
    proto = "proto/pingti/worker/v1/worker.proto"
    assert protoc.main(["", f"-I{root}", f"--python_out={out}", f"--grpc_python_out={out}", proto]) == 0
    sys.path.insert(0, str(out))
    from proto.pingti.worker.v1 import worker_pb2, worker_pb2_grpc
    return worker_pb2, worker_pb2_grpc


class ScriptedWorker:
    def __init__(self, protos, model_id="scripted"):
        self.pb, services = protos
        self.model_id = model_id
        self.script = []
        self.group = 1  # tokens per step
        self.prompts = []  # as text
        self.lock = threading.Lock()
        keys = self.pb.GgufTokenizer(model="gpt2", pre="gpt-2", merges=[b"z q"], bos_token_id=IM_START,
                                     eos_token_id=IM_END, add_bos_token=False)
        for token in [*map(byte_stand_in, range(256)), "<|im_start|>", "<|im_end|>", "zq"]:
            keys.tokens.append(token.encode())
            keys.token_types.append(3 if token.startswith("<|im_") else 1)
        self.tokenizer = keys.SerializeToString()
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        services.add_WorkerServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def close(self):
        self.server.stop(0)

    # --- the service

    def GetModelCard(self, request, context):
        return self.pb.ModelCard(
            model_id=self.model_id, fingerprint="scripted-1", created_unix_s=1_700_000_000, owned_by="pingti",
            max_context_tokens=32_768, max_batch_tokens=2048, max_batch_size=64, kv_block_tokens=16, vocab_size=259,
            kv_total_blocks=1000, eos_token_ids=[IM_END], chat_template=CHAT_TEMPLATE, tool_call_format="hermes",
            reasoning_start="<think>", reasoning_end="</think>", features=["grammar", "grammar_frames", "logprobs"],
            tokenizer=self.pb.Asset(format=self.pb.Asset.FORMAT_GGUF_TOKENIZER, size_bytes=len(self.tokenizer),
                                    sha256=hashlib.sha256(self.tokenizer).hexdigest()))

    def GetModelAsset(self, request, context):
        yield self.pb.AssetChunk(data=self.tokenizer)

    def LoadAdapter(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "a scripted worker has no adapters")

    UnloadAdapter = LoadAdapter

    def Session(self, requests, context):
        answers = queue.Queue()
        threading.Thread(target=self.read, args=(requests, answers), daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=0.2)
            except queue.Empty:  # a worker that says nothing is taken for dead
                answer = self.pb.SessionResponse(load_report=self.pb.LoadReport(kv_total_blocks=1000))
            if answer is None:
                return
            yield answer

    def read(self, requests, answers):
        try:
            for request in requests:
                kind = request.WhichOneof("message")
                if kind == "hello":
                    answers.put(self.pb.SessionResponse(welcome=self.pb.Welcome(
                        protocol_version=1, worker_id=self.address, incarnation="1", model_fingerprint="scripted-1",
                        initial_credit=self.pb.SubmitCredit(max_waiting_sequences=64, max_waiting_tokens=1 << 20))))
                elif kind == "submit":
                    for sequence in request.submit.sequences:
                        for answer in self.answer(sequence):
                            answers.put(answer)
        except grpc.RpcError:
            pass  # the router is gone
        answers.put(None)

    def next_text(self, prompt):
        with self.lock:
            self.prompts.append(prompt)
            return self.script(prompt) if callable(self.script) else self.script.pop(0)

    def answer(self, sequence):
        special = {IM_START: b"<|im_start|>", IM_END: b"<|im_end|>"}
        prompt = b"".join(special.get(t) or bytes([t]) for t in sequence.prompt_token_ids).decode(errors="replace")
        tokens = [*self.next_text(prompt).encode(), IM_END]
        most = sequence.stop.max_tokens or len(tokens)
        reason = self.pb.Finish.REASON_STOP_TOKEN if len(tokens) <= most else self.pb.Finish.REASON_MAX_TOKENS
        tokens = tokens[:most]
        group = self.group or len(tokens)
        for at in range(0, len(tokens), group):
            output = self.pb.SequenceOutput(sequence_id=sequence.sequence_id, token_ids=tokens[at:at + group])
            if sequence.logprobs.enabled:
                output.logprobs.extend(self.pb.TokenLogprobs(logprob=-0.5) for _ in output.token_ids)
            if at + group >= len(tokens):
                output.finish.CopyFrom(self.pb.Finish(reason=reason, stop_token_id=IM_END))
            yield self.pb.SessionResponse(step_output=self.pb.StepOutput(step=at + 1, outputs=[output]))
