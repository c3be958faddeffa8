import concurrent.futures
import sys
import threading
import time
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location

from transept.discovery import load_object


def test_many_threads_resolve_at_once(site, registry):
    for i in range(6):
        site.add(
            f"plugin-{i}",
            keys=(f"kite{i}", f"plane{i}"),
            source="import time\ntime.sleep(0.05)\n" + site.models(f"kite{i}", f"plane{i}"),
        )
    barrier = threading.Barrier(16)

    def ask(number):
        barrier.wait()
        return [registry.get("models", f"{what}{(number + i) % 6}").key for i in range(6) for what in ("kite", "plane")]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert all(sorted(answer) == sorted(answers[0]) for answer in answers)
    assert len(registry._state.plugins) == 6
    assert registry.get("models", "kite0") is registry.get("models", "kite0")


def test_a_slow_plugin_holds_up_nobody_else(site, registry):
    source = "import builtins\nbuiltins.kite_started.set()\nassert builtins.kite_go.wait(10)\n" + site.models("slow")
    site.add("slow", keys=("slow",), source=source)
    site.add("quick", keys=("quick",))
    import builtins

    builtins.kite_started, builtins.kite_go = threading.Event(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow = pool.submit(registry.get, "models", "slow")
        assert builtins.kite_started.wait(10)
        assert pool.submit(registry.get, "models", "quick").result(timeout=5).key == "quick"
        builtins.kite_go.set()
        assert slow.result(timeout=5).key == "slow"
    del builtins.kite_started, builtins.kite_go


def test_two_plugins_that_look_each_other_up_while_they_load_do_not_lock_up(site, registry):
    for me, other in (("left", "right"), ("right", "left")):
        hook = f"\nfrom transept.discovery import registry\n@hookimpl\ndef provide_configs():\n    registry.get('models', '{other}')\n    return []\n"
        site.add(me, keys=(me,), source=site.models(me) + hook)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = [pool.submit(registry.get, "models", name) for name in ("left", "right")]
        assert {future.result(timeout=10).key for future in found} == {"left", "right"}


CHILD = """
import multiprocessing, sys
from transept.discovery import registry

def child(key):
    return registry.get("models", key).key, "kite_plugin" in sys.modules

if __name__ == "__main__":
    {before}
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert pool.map(child, ["kite", "plane", "kite"]) == [("kite", True), ("plane", True), ("kite", True)]
"""


def run_children(site, method, before):
    script = site.root / f"children_{method}.py"
    script.write_text(CHILD.format(method=method, before=before))
    done = site.python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert done.returncode == 0, done.stderr


def test_a_spawned_child_resolves_without_being_told(site):
    site.add("kite-plugin", keys=("kite", "plane"))
    run_children(site, "spawn", "assert 'kite_plugin' not in sys.modules")


def test_a_forked_child_resolves_before_and_after_its_parent_did(site):
    site.add("kite-plugin", keys=("kite", "plane"))
    run_children(site, "fork", "assert 'kite_plugin' not in sys.modules")


def test_a_child_forked_while_a_thread_reads_the_index_is_not_locked_up(site):
    site.add("kite-plugin", keys=("kite",))
    done = site.python(
        """
        import os, sys, threading, time
        from transept.discovery import registry

        module = sys.modules["transept.discovery.registry"]
        build = module.build_index
        def slow(old=None):
            time.sleep(0.3)
            return build(old)
        module.build_index = slow
        thread = threading.Thread(target=registry.keys, args=("models",))
        thread.start()
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            ok = registry.get("models", "kite").key == "kite"
            os._exit(0 if ok else 1)
        thread.join()
        deadline = time.time() + 20
        while time.time() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                raise SystemExit(status)
            time.sleep(0.02)
        os.kill(child, 9)
        raise SystemExit("the child hangs")
        """
    )
    assert done.returncode == 0, done.stderr


def test_two_threads_that_load_one_plugin_get_the_same_record(site, registry):
    body = "    import time\n    time.sleep(0.1)\n    return ["
    site.add("kite", keys=("kite",), source=site.models("kite").replace("    return [", body))
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return registry.get("models", "kite")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len({id(record) for record in found}) == 1


def test_two_modules_of_a_package_that_imports_both_are_loaded_at_once(site, monkeypatch):
    package = site.root / "slow_package"
    package.mkdir()
    (package / "__init__.py").write_text("from . import one, two\n")
    for name in ("one", "two"):
        (package / f"{name}.py").write_text("name = __name__\n")
    site.modules |= {"slow_package", "slow_package.one", "slow_package.two"}

    class Slow(SourceFileLoader):
        def create_module(self, spec):
            time.sleep(0.2)

        def find_spec(self, name, *_):
            return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    slow = Slow("slow_package", str(package / "__init__.py"))
    monkeypatch.setattr(sys, "meta_path", [slow, *sys.meta_path])
    references = ["slow_package.one:name", "slow_package.two:name"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda each: load_object(each, "me"), references)) == ["slow_package.one", "slow_package.two"]


def test_every_module_imports_alone_and_the_package_from_eight_threads(site):
    names = ["errors", "discovery", *(f"discovery.{m}" for m in ("choice", "compat", "index", "known", "loading", "registry"))]
    for name in names:
        done = site.python(f"import importlib; importlib.import_module('transept.{name}')")
        assert done.returncode == 0, done.stderr
    done = site.python(
        """
        import importlib, threading
        errors = []
        def load(name):
            try:
                importlib.import_module("transept." + name)
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=load, args=(name,)) for name in ("errors", "discovery") * 4]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert not errors, errors
        """
    )
    assert done.returncode == 0, done.stderr
    assert sys.version_info >= (3, 11)
