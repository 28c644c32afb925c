"""A judge on this machine: asked, asked again, given up, and its grades in the official form."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from regiontok.evaluation.judge import Judge, JudgeError, judge_replies, read_grades
from regiontok.evaluation.question import Question
from regiontok.settings import registry

QUESTIONS = [Question(f"v1_{i}", "What is x?", ("-1<AND>-5",)) for i in range(3)]


@pytest.fixture
def server():
    """A server that answers with what stands in `said`, first status codes and then words."""
    said, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            answer = said.pop(0) if said else "1.0"
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            content = {"choices": [{"message": {"content": str(answer)}}]}
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *args):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    httpd.said, httpd.asked = said, asked
    httpd.address = f"http://127.0.0.1:{httpd.server_port}/v1"
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def judge_of(server, **options):
    return Judge(server.address, "grader", wait=lambda seconds: None, **options)


def graded(judge, path):
    bench = registry.build("bench", "mmvet")
    return judge_replies(bench, [(question, "-1 and -5") for question in QUESTIONS], judge, path)


def test_grades_are_kept_and_not_asked_for_again(server, tmp_path):
    server.said += ["0.5", 500, "Grade: 1.0", "no idea"]
    path = tmp_path / "grades.json"
    judged = graded(judge_of(server, key="secret"), path)
    assert judged.grades == {"v1_0": [0.5], "v1_1": [1.0]}
    assert judged.unjudged == {"v1_2": "the judge gave no number from 0 to 1"}
    path_asked, key, body = server.asked[0]
    assert (path_asked, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "grader")
    assert "Correct answer: -1<AND>-5" in body["messages"][0]["content"]
    assert read_grades(path) == judged.grades
    assert json.loads(path.read_text())["v1_0"]["model"] == ["grader"]
    count = len(server.asked)
    assert graded(judge_of(server), path).unjudged == {}
    assert len(server.asked) == count + 1


def test_a_reply_is_graded_as_often_as_wanted(server, tmp_path):
    server.said += ["0.1", "0.3"]
    assert graded(judge_of(server, times=2), tmp_path / "g.json").grades["v1_0"] == [0.1, 0.3]


def test_a_judge_that_is_not_there_is_given_up(tmp_path):
    judge = Judge("http://127.0.0.1:9/v1", "grader", wait=lambda seconds: None)
    with pytest.raises(JudgeError, match=r"grader at http://127\.0\.0\.1:9/v1 cannot be asked"):
        judge.grade("?")
    judged = graded(judge, tmp_path / "grades.json")
    assert judged.grades == {}
    assert len(judged.unjudged) == 3


def test_a_refusal_is_not_asked_again(server):
    server.said += [401]
    with pytest.raises(JudgeError, match="401"):
        judge_of(server).grade("?")
    assert len(server.asked) == 1


def test_another_file_is_no_file_of_grades(tmp_path):
    (tmp_path / "g.json").write_text('{"v1_0": 3}')
    with pytest.raises(JudgeError, match="is no file of grades"):
        read_grades(tmp_path / "g.json")
