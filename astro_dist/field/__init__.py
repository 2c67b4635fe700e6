"""The synthetic field: objects, layout, fluxes, assembly, truth."""
