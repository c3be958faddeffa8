def test_of_a_thousand_dists_one_plugin_is_imported_and_no_metadata_but_its_own_is_read(site):
    for i in range(1000):
        site.add(f"fake-{i}", f"1.{i}", keys=(f"fake{i}",))
    done = site.python(
        """
        import pathlib, sys, time
        import transept_hookspecs  # the contract's own cost (pydantic) is not discovery's
        from transept.discovery import registry
        read = []
        sys.addaudithook(lambda event, args: read.append(str(args[0])) if event == "open" else None)
        start = time.perf_counter()
        record = registry.get("models", "fake517")
        took = time.perf_counter() - start
        assert record.key == "fake517"
        assert [name for name in sys.modules if name.startswith("fake_")] == ["fake_517"]
        metadata = [name for name in read if name.endswith("METADATA")]
        assert len(metadata) <= 1 and all("fake_517-" in name for name in metadata), metadata
        assert sum(name.endswith("entry_points.txt") for name in read) >= 1000
        read.clear()
        assert registry.get("models", "fake517") is record
        assert registry.get("models", "fake518").key == "fake518"
        assert not [name for name in read if name.endswith("entry_points.txt")]
        print(f"first lookup among 1,000 dists: {took * 1e3:.0f} ms")
        """
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
